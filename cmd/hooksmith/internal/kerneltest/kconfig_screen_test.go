package kerneltest

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/sys/unix"
)

// screen is a program at a terminal, as a person sees it.
type screen struct {
	t    *testing.T
	cmd  *exec.Cmd
	user *os.File // where the person sits
	tty  *os.File // the program's end, held open to look at its state
	term vt10x.Terminal
	log  *watched // all that was ever written
	done chan struct{}
}

// Keys.
const (
	keyUp    = "\x1b[A"
	keyDown  = "\x1b[B"
	keyRight = "\x1b[C"
	keyEnter = "\r"
	keyCtrlC = "\x03"
)

// at starts a program at a terminal.
func at(t *testing.T, cmd *exec.Cmd, cols, rows int) *screen {
	t.Helper()
	user, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, cmd: cmd, user: user, tty: tty, log: &watched{}, done: make(chan struct{})}
	s.term = vt10x.New(vt10x.WithSize(cols, rows), vt10x.WithWriter(user))
	s.setSize(cols, rows)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = append(cmd.Env, "TERM=linux")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.MultiWriter(s.term, s.log), user) }()
	go func() { _ = cmd.Wait(); close(s.done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // does nothing if it has ended
		<-s.done
		tty.Close()
		user.Close()
		if t.Failed() {
			t.Logf("the screen:\n%s\nall of it: %.6000q", s.term, s.log)
		}
	})
	return s
}

func (s *screen) setSize(cols, rows int) {
	s.t.Helper()
	s.term.Resize(cols, rows)
	if err := pty.Setsize(s.user, &pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)}); err != nil {
		s.t.Fatal(err)
	}
}

// wait waits until the screen shows all of the texts.
func (s *screen) wait(texts ...string) {
	s.t.Helper()
	s.until(strings.Join(texts, " and ")+" on the screen", func() bool {
		now := s.term.String()
		for _, text := range texts {
			if !strings.Contains(now, text) {
				return false
			}
		}
		return true
	})
}

func (s *screen) until(what string, ready func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("no %s in %s; the cursor is at %+v", what, patience, s.term.Cursor())
		}
		if ended(s.done) && !ready() {
			s.t.Fatalf("the program ended without %s", what)
		}
	}
}

func (s *screen) press(keys ...string) {
	s.t.Helper()
	for _, k := range keys {
		if _, err := io.WriteString(s.user, k); err != nil {
			s.t.Fatal(err)
		}
	}
}

// row is the line that the cursor is in: menuconfig puts it on the chosen item.
func (s *screen) row() string {
	s.term.Lock()
	defer s.term.Unlock()
	cols, _ := s.term.Size()
	y := s.term.Cursor().Y
	var b strings.Builder
	for x := range cols {
		b.WriteRune(s.term.Cell(x, y).Char)
	}
	return b.String()
}

// move presses Down until the chosen item has the text. Where nothing follows it
// turns back: a slow screen is drawn in parts, and the item may have been passed.
func (s *screen) move(text string) {
	s.t.Helper()
	there, back := keyDown, keyUp
	for range 160 {
		before := s.restingRow()
		if strings.Contains(before, text) {
			return
		}
		s.press(there)
		if !s.within(20*time.Second, func() bool { return s.row() != before }) {
			there, back = back, there
		}
	}
	s.t.Fatalf("there is no item %q", text)
}

// restingRow is the line in which the cursor stays for a while, and not on its
// way over the screen.
func (s *screen) restingRow() string {
	row, polls := s.row(), 0
	s.until("rest of the cursor", func() bool {
		now := s.row()
		if polls++; now != row {
			row, polls = now, 0
		}
		return polls >= 15
	})
	return row
}

// within waits a while for what may come or not.
func (s *screen) within(patience time.Duration, ready func() bool) bool {
	for deadline := time.Now().Add(patience); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) || ended(s.done) {
			return false
		}
	}
	return true
}

// exit waits for the end of the program, and returns its status.
func (s *screen) exit() int {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("it did not end in %s", patience)
	}
	return s.cmd.ProcessState.ExitCode()
}

// state is what stty prints, nearly.
func (s *screen) state() unix.Termios {
	s.t.Helper()
	state, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *state
}
