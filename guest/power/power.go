// Package power ends the machine's run: what asks for it and the system call that does it.
//
// In come a signal to PID 1 (Requested), the applets reboot, poweroff and halt (Run), the power button (Button) and the
// file by which a workflow asks for a reboot (Appear); out goes an Action, which init carries out with Do when all
// services have stopped.
package power

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Action is how a run ends.
type Action string

// The actions.
const (
	Reboot   Action = "reboot"
	Poweroff Action = "poweroff"
	Halt     Action = "halt"
)

// rtmin is SIGRTMIN of the C library, which keeps the two signals below for itself. systemd's tools count from it.
const rtmin = 34

// requests are the signals that ask PID 1 for an action. busybox and LinuxKit send the first of each.
var requests = []struct {
	signal unix.Signal
	action Action
}{
	{unix.SIGTERM, Reboot}, {unix.SIGINT, Reboot /* Ctrl-Alt-Del */}, {rtmin + 5, Reboot},
	{unix.SIGUSR2, Poweroff}, {unix.SIGPWR, Poweroff}, {rtmin + 4, Poweroff},
	{unix.SIGUSR1, Halt}, {rtmin + 3, Halt},
}

// Signals are all signals that ask for an action.
func Signals() []os.Signal {
	var all []os.Signal
	for _, r := range requests {
		all = append(all, r.signal)
	}
	return all
}

// Requested is the action that a signal asks for.
func Requested(signal os.Signal) (Action, bool) {
	for _, r := range requests {
		if r.signal == signal {
			return r.action, true
		}
	}
	return "", false
}

// Ask asks PID 1 for an action.
func Ask(action Action) error {
	for _, r := range requests {
		if r.action == action {
			return unix.Kill(1, r.signal)
		}
	}
	return fmt.Errorf("unknown action %q", action)
}

// Do makes the kernel carry out the action at once. It returns only an error.
func Do(action Action) error {
	commands := map[Action]int{
		Reboot: unix.LINUX_REBOOT_CMD_RESTART, Poweroff: unix.LINUX_REBOOT_CMD_POWER_OFF, Halt: unix.LINUX_REBOOT_CMD_HALT,
	}
	command, ok := commands[action]
	if !ok {
		return fmt.Errorf("unknown action %q", action)
	}
	if err := unix.Reboot(command); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

// Applet is the program of an action. It asks PID 1, or with -f does it at once.
func Applet(action Action) func(context.Context, []string, io.Writer, io.Writer) error {
	return func(_ context.Context, args []string, _, _ io.Writer) error {
		switch {
		case len(args) == 0:
			if err := isInit("/proc/1/cmdline"); err != nil {
				return err
			}
			return Ask(action)
		case len(args) == 1 && args[0] == "-f":
			unix.Sync()
			return Do(action)
		}
		return fmt.Errorf("usage: %s [-f]   -f: at once, without stopping services", action)
	}
}

// isInit makes sure that a signal to PID 1 reaches init and not the first process of a container, which it would kill.
func isInit(cmdline string) error {
	text, err := os.ReadFile(cmdline)
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(string(text), "\x00")
	if filepath.Base(name) != "init" {
		return errors.New("PID 1 is not init here: inside a container, create the file /worker/reboot instead")
	}
	return nil
}
