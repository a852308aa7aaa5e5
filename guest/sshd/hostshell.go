package sshd

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Shell is the applet "hostshell": it moves into the namespaces of PID 1, the host's, and becomes a shell there, with
// the arguments that an SSH server gives: none for a login, "-c COMMAND" for a command. Where PID 1 is not the host's
// init, since the container has process numbers of its own, it becomes the container's shell.
func Shell(_ context.Context, args []string, _, stderr io.Writer) error {
	runtime.LockOSThread() // namespaces are the thread's; it is the one that the shell takes over
	if err := enterHost(); err != nil {
		fmt.Fprintf(stderr, "hostshell: %v; this is the container of the SSH service\n", err)
	}
	argv := append([]string{"sh"}, args...)
	if len(args) == 0 {
		argv[0] = "-sh" // a login shell reads /etc/profile
	}
	if err := syscall.Exec("/bin/sh", argv, os.Environ()); err != nil {
		return fmt.Errorf("running /bin/sh: %w", err)
	}
	return nil
}

// enterHost moves the thread into the namespaces of PID 1 and to its root folder.
func enterHost() error {
	// A thread that shares its root and working directory with others cannot change its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leaving the container: %w", err)
	}
	// All are opened first: after the change /proc may be another one.
	kinds := []struct {
		name string
		flag int
	}{
		{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS},
	}
	files := make([]*os.File, len(kinds))
	for i, kind := range kinds {
		f, err := os.Open("/proc/1/ns/" + kind.name)
		if err != nil {
			return fmt.Errorf("leaving the container: %w", err)
		}
		defer f.Close()
		files[i] = f
	}
	for i, kind := range kinds {
		if err := unix.Setns(int(files[i].Fd()), kind.flag); err != nil {
			return fmt.Errorf("entering the host's %s namespace: %w", kind.name, err)
		}
	}
	home := "/root"
	if _, err := os.Stat(home); err != nil {
		home = "/"
	}
	if err := os.Chdir(home); err != nil {
		return fmt.Errorf("entering the host's %s: %w", home, err)
	}
	return nil
}
