// Package sshd holds the applets of the optional SSH service: "sshd", which prepares dropbear and becomes it, and
// "hostshell", the shell that its sessions get.
//
// In go the keys of /etc/ssh/authorized_keys, put there by `hooksmith build --ssh-key`; out comes a server that knows
// no passwords, and sessions that are on the host, not in the service's container: what an operator looks for is there.
package sshd

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"hooksmith/guest/bootlog"
)

// Run becomes dropbear, and only returns when that cannot be. Without a key it says so and
// waits for ctx: a server that lets nobody in is not worth its port.
//
// It needs the host's network and process numbers, and a writable root of its own.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("sshd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	keys := flags.String("keys", "/etc/ssh/authorized_keys", "`file` with the public keys that may log in as root")
	home := flags.String("home", "/root", "root's home `folder`")
	port := flags.String("port", "22", "`[address:]port` to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	logger := log.New(stdout, bootlog.Prefix+"sshd: ", 0)

	// 1. Who may log in.
	count, err := installKeys(*keys, *home)
	if err != nil {
		return err
	}
	if count == 0 {
		logger.Printf("no key is in %s: SSH stays closed (hooksmith build --ssh-key FILE adds one)", *keys)
		<-ctx.Done()
		return nil
	}
	// 2. Where a session goes.
	if err := installShell("/"); err != nil {
		logger.Printf("%v; sessions stay in the service's container", err)
	}
	// 3. The server.
	program, err := exec.LookPath("dropbear")
	if err != nil {
		return fmt.Errorf("finding the SSH server (package dropbear-bin): %w", err)
	}
	argv, err := dropbearArgs(*port, filepath.Dir(*keys))
	if err != nil {
		return err
	}
	logger.Printf("listening on port %s for %d key(s)", *port, count)
	if err := syscall.Exec(program, argv, os.Environ()); err != nil {
		return fmt.Errorf("running %s: %w", program, err)
	}
	return nil
}

// maxKeys bounds the file of keys.
const maxKeys = 1 << 20

// installKeys copies the keys in file to where dropbear looks, with the modes that it insists on, and returns how many
// there are. Where file is not there, what is in the home folder already counts, as upstream binds it.
func installKeys(file, home string) (count int, err error) {
	folder := filepath.Join(home, ".ssh")
	target := filepath.Join(folder, "authorized_keys")
	text, err := readKeys(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = readKeys(target)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the SSH keys: %w", err)
	}
	if count = countKeys(text); count == 0 {
		return 0, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, fmt.Errorf("making %s: %w", folder, err)
	}
	// dropbear refuses keys that others could have written.
	for _, each := range []string{home, folder} {
		if err := os.Chmod(each, 0o700); err != nil {
			return 0, fmt.Errorf("closing %s to others: %w", each, err)
		}
	}
	temp := target + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return 0, fmt.Errorf("writing the SSH keys: %w", err)
	}
	if err := os.Rename(temp, target); err != nil {
		return 0, fmt.Errorf("writing the SSH keys: %w", err)
	}
	return count, nil
}

func readKeys(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeys))
}

// countKeys is the number of lines that are neither empty nor comments.
func countKeys(text []byte) int {
	count := 0
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			count++
		}
	}
	return count
}

// dropbearArgs are dropbear's: in the foreground (-F), log to stderr (-E), no passwords (-s), host keys made when the
// first session needs them (-R), sessions of machines that went away ended (-K). Host keys that are part of this
// HookOS, in dropbear's form beside the file of keys, are used instead, so that clients know the machine again.
func dropbearArgs(port, folder string) ([]string, error) {
	args := []string{"dropbear", "-F", "-E", "-s", "-K", "60", "-p", port}
	hostKeys, err := filepath.Glob(filepath.Join(folder, "dropbear_*_host_key"))
	if err != nil {
		return nil, err
	}
	for _, key := range hostKeys {
		args = append(args, "-r", key)
	}
	if len(hostKeys) > 0 {
		return args, nil
	}
	const made = "/etc/dropbear" // compiled into dropbear
	if err := os.MkdirAll(made, 0o700); err != nil {
		return nil, fmt.Errorf("making a place for host keys: %w", err)
	}
	return append(args, "-R"), nil
}

// shellPath is root's shell in the service's container. dropbear takes only a shell that /etc/shells lists.
const shellPath = "/usr/bin/hostshell"

// installShell makes the applet hostshell root's shell in the container whose root folder is given. It is a script
// since a login shell is called by a name that begins with a hyphen.
func installShell(root string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s hostshell \"$@\"\n", self)
	if err := os.WriteFile(filepath.Join(root, shellPath), []byte(script), 0o755); err != nil {
		return fmt.Errorf("writing the sessions' shell: %w", err)
	}
	for _, file := range []struct {
		name string
		edit func(string) string
	}{
		{"etc/shells", func(text string) string { return strings.TrimRight(text, "\n") + "\n/bin/sh\n" + shellPath + "\n" }},
		{"etc/passwd", setRootShell},
	} {
		path := filepath.Join(root, file.name)
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("setting root's shell: %w", err)
		}
		if err := os.WriteFile(path, []byte(file.edit(string(text))), 0o644); err != nil {
			return fmt.Errorf("setting root's shell: %w", err)
		}
	}
	return nil
}

// setRootShell makes shellPath the shell of root in the text of /etc/passwd, and adds root if he is not there.
func setRootShell(passwd string) string {
	var out strings.Builder
	found := false
	for line := range strings.Lines(passwd) {
		fields := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(fields) == 7 && fields[0] == "root" {
			found = true
			fields[6] = shellPath
			line = strings.Join(fields, ":") + "\n"
		}
		out.WriteString(line)
	}
	if !found {
		return "root:*:0:0:root:/root:" + shellPath + "\n" + out.String()
	}
	return out.String()
}
