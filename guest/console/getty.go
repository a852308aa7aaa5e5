package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// absent is how long a console that cannot be opened or read is left alone.
const absent = 5 * time.Second

// Getty offers a shell on one console: it shows a banner, waits for Enter and starts the shell as the leader of a
// session with that console as its controlling terminal, again and again. No login: who reaches the console of a
// machine that is being provisioned owns it.
type Getty struct {
	Device string        // "/dev/ttyS0"
	Term   string        // TERM of the shell
	Banner func() string // made anew each time
	Shell  []string      // argv
	Env    []string
	Logf   func(format string, args ...any)
}

// Run serves the console until ctx ends. A console that is missing or fails is tried again later.
func (g *Getty) Run(ctx context.Context) {
	complained := false
	for ctx.Err() == nil {
		err := g.session(ctx)
		if err == nil {
			complained = false
			continue
		}
		if !complained && ctx.Err() == nil {
			g.Logf("no shell on %s for now: %v", g.Device, err)
			complained = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(absent):
		}
	}
}

// session is one round: banner, Enter, shell.
func (g *Getty) session(ctx context.Context) error {
	if err := g.waitForEnter(ctx); err != nil {
		return err
	}
	tty, err := os.OpenFile(g.Device, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	fmt.Fprint(tty, g.Banner())
	cmd := exec.CommandContext(ctx, g.Shell[0], g.Shell[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = append(g.Env, "TERM="+g.Term)
	cmd.Dir = "/"
	// A shell must not outlive this process: the next one would offer a second shell on the same console. The signal
	// comes when the thread ends that has started it, so that is kept.
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0, Pdeathsig: unix.SIGHUP}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("starting %s: %w", g.Shell[0], err)
	}
	// A shell that dies at once, of a broken file perhaps, must not fill the console.
	if err != nil && time.Since(start) < time.Second && cmd.ProcessState.ExitCode() < 0 {
		return fmt.Errorf("running %s: %w", g.Shell[0], err)
	}
	return nil
}

// waitForEnter shows the banner and returns when somebody has pressed Enter. The console is opened for this alone: it
// stays nobody's controlling terminal until the shell takes it.
func (g *Getty) waitForEnter(ctx context.Context) error {
	tty, err := os.OpenFile(g.Device, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	stop := context.AfterFunc(ctx, func() { _ = tty.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	sane(tty)
	_ = tty.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(tty, g.Banner()+"\n"+Prompt); err != nil && !os.IsTimeout(err) {
		return err
	}
	return readEnter(tty)
}

// readEnter reads until the end of a line.
func readEnter(r io.Reader) error {
	buffer := make([]byte, 256)
	ended := false
	for {
		n, err := r.Read(buffer)
		if bytes.ContainsAny(buffer[:n], "\r\n") {
			return nil
		}
		// Ctrl-D reads as the end of the file once; a line that was hung up does so for ever.
		if errors.Is(err, io.EOF) && !ended {
			ended = true
			continue
		}
		if err != nil {
			return err
		}
		ended = false
	}
}

// sane undoes what a program may have left behind: raw mode, no echo.
func sane(tty *os.File) {
	raw, err := tty.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		if err != nil {
			return
		}
		t.Iflag = t.Iflag&^(unix.IGNCR|unix.INLCR|unix.ISTRIP|unix.IGNBRK|unix.PARMRK) | unix.ICRNL | unix.IXON
		t.Oflag |= unix.OPOST | unix.ONLCR
		t.Lflag |= unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ISIG | unix.IEXTEN
		_ = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
	})
}
