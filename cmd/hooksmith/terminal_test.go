package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"hooksmith/kernel/compile"
)

// A terminal is lent in raw mode and given back as it was, also after an
// error, and its changes of size are heard.
func TestTerminal(t *testing.T) {
	user, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	defer tty.Close()
	state := func() unix.Termios {
		s, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *s
	}
	var shown bytes.Buffer
	go func() { _, _ = io.Copy(&shown, user) }()
	before := state()
	a := newApp(tty, tty, io.Discard, func(name string) (string, bool) { return "vt100", name == "TERM" })
	found := findTerminal(a)
	if found == nil {
		t.Fatal("there is a terminal")
	}
	wrong := errors.New("wrong")
	err = found.use(func(lent compile.Terminal) error {
		if s := state(); s.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
			t.Errorf("it is not raw: %+v", s)
		}
		if lent.Name != "vt100" {
			t.Errorf("TERM is %q", lent.Name)
		}
		if cols, rows := lent.Size(); cols != 80 || rows != 24 { // it has none yet
			t.Errorf("size %dx%d", cols, rows)
		}
		if err := pty.Setsize(user, &pty.Winsize{Cols: 100, Rows: 40}); err != nil {
			t.Fatal(err)
		}
		// It is not the terminal of this process: the signal is sent by hand.
		if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		select {
		case <-lent.Resize:
		case <-time.After(time.Minute):
			t.Error("a change of the size is not heard")
		}
		if cols, rows := lent.Size(); cols != 100 || rows != 40 {
			t.Errorf("size %dx%d", cols, rows)
		}
		return wrong
	})
	if !errors.Is(err, wrong) {
		t.Errorf("error %v", err)
	}
	if state() != before {
		t.Errorf("it is left as %+v, was %+v", state(), before)
	}
}

func TestNoTerminal(t *testing.T) {
	a := newApp(strings.NewReader(""), io.Discard, io.Discard, os.LookupEnv)
	if findTerminal(a) != nil {
		t.Error("there is none")
	}
}
