package console

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is the outer end of a pseudo terminal, and what it has shown.
type terminal struct {
	file  *os.File
	slave string
	mu    sync.Mutex
	shown strings.Builder
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	file, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	err = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	})
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{file: file, slave: fmt.Sprintf("/dev/pts/%d", number)}
	// An open inner end keeps the outer one from reading an error between two sessions.
	hold, err := os.OpenFile(term.slave, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { hold.Close(); file.Close() })
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := file.Read(buffer)
			term.mu.Lock()
			term.shown.Write(buffer[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return term
}

// expect waits until text has been shown since the last expect.
func (term *terminal) expect(t *testing.T, text string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		term.mu.Lock()
		shown := term.shown.String()
		if _, after, ok := strings.Cut(shown, text); ok {
			term.shown.Reset()
			term.shown.WriteString(after)
			term.mu.Unlock()
			return
		}
		term.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%q did not appear; on the terminal: %q", text, term.shown.String())
}

func (term *terminal) send(t *testing.T, text string) {
	t.Helper()
	if _, err := term.file.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestGetty(t *testing.T) {
	term := openTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := &Getty{
		Device: term.slave, Term: "vt220", Banner: func() string { return "BANNER\n" },
		Shell: []string{"/bin/sh"}, Env: []string{"PS1=> "}, Logf: t.Logf,
	}
	done := make(chan struct{})
	go func() { g.Run(ctx); close(done) }()

	for range 2 {
		term.expect(t, "BANNER\r\n\r\nPress Enter for a root shell.\r\n")
		term.send(t, "\r")
		term.expect(t, "BANNER")
		term.expect(t, "> ")
		// /dev/tty opens only with a controlling terminal; the shell leads its session.
		term.send(t, "echo $TERM $(ps -o sess= -p $$) = $$ > /dev/tty; stty raw -echo; exit\r")
		term.expect(t, "vt220 ")
	}
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("Run did not end with its context")
	}
}

func TestGettyWithoutShell(t *testing.T) {
	term := openTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	complaint := make(chan string, 1)
	g := &Getty{
		Device: term.slave, Banner: func() string { return "" }, Shell: []string{"/nonexistent/sh"},
		Logf: func(format string, args ...any) { once.Do(func() { complaint <- fmt.Sprintf(format, args...) }) },
	}
	done := make(chan struct{})
	go func() { g.Run(ctx); close(done) }()
	term.expect(t, "Press Enter")
	term.send(t, "\n")
	if got := <-complaint; !strings.Contains(got, "/nonexistent/sh") {
		t.Errorf("complaint %q", got)
	}
	cancel()
	<-done
}

// TestWriterAfterHangup has a session end on a console: everybody else's open terminal is hung up by that.
func TestWriterAfterHangup(t *testing.T) {
	term := openTerminal(t)
	w := NewWriter("/dev/pts", []string{filepath.Base(term.slave)})
	defer w.Close()
	for i := range 3 {
		fmt.Fprintf(w, "line %d\n", i)
		term.expect(t, fmt.Sprintf("line %d\r\n", i))
		tty, err := os.OpenFile(term.slave, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/sh", "-c", "exit 0")
		cmd.Stdin = tty
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
		tty.Close()
	}
}

func TestWriterDropsWhenStopped(t *testing.T) {
	file, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer file.Close()
	if err := unix.IoctlSetPointerInt(int(file.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody reads the outer end, so the terminal is full soon.
	w := NewWriter("/dev/pts", []string{fmt.Sprint(number)})
	start := time.Now()
	for range 4 * queued {
		_, _ = w.Write([]byte(strings.Repeat("x", 200) + "\n"))
	}
	w.Flush(50 * time.Millisecond)
	if took := time.Since(start); took > 30*time.Second { // what blocks does so for ever
		t.Errorf("writing to a stopped console took %v", took)
	}
}
