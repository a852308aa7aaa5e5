package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/term"
)

// stopTime is how long QEMU gets to end after a SIGTERM; it needs milliseconds.
const stopTime = 5 * time.Second

// MissingError says that a program is not installed, and what has it.
type MissingError struct{ Program, Package string }

func (e *MissingError) Error() string { return e.Program + " is not installed" }

// Hint is the command that installs it on Debian.
func (e *MissingError) Hint() string { return "sudo apt-get install " + e.Package }

// Look checks that program is in PATH.
func Look(program, debianPackage string) error {
	if _, err := exec.LookPath(program); err != nil {
		return &MissingError{program, debianPackage}
	}
	return nil
}

// Run starts argv on the given streams and waits for its end. If stdin is a
// terminal, QEMU makes it raw: keys, Ctrl-C too, go to the guest; Run puts the
// terminal back in order whatever way QEMU ends. When ctx ends, QEMU is
// terminated and ctx's error returned.
func Run(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	defer keepTerminal(stdin)()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var missing *exec.Error
	if errors.As(err, &missing) {
		return fmt.Errorf("starting %s: %w", argv[0], missing.Err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return nil
}

// keepTerminal remembers the state of a terminal and returns what restores it.
func keepTerminal(stdin io.Reader) (restore func()) {
	f, ok := stdin.(*os.File)
	if !ok {
		return func() {}
	}
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return func() {} // not a terminal
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }
}

// DiskCommand makes an empty disk: a sparse file of size (10G, 512M).
func DiskCommand(path, size string) []string {
	return []string{"qemu-img", "create", "-q", "-f", "qcow2", path, size}
}

// CreateDisk runs DiskCommand.
func CreateDisk(ctx context.Context, path, size string) error {
	if err := Look("qemu-img", "qemu-utils"); err != nil {
		return err
	}
	argv := DiskCommand(path, size)
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("making a disk of %s: %w: %s", size, err, out)
	}
	return nil
}
