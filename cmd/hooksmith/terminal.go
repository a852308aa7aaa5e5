package main

import (
	"errors"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"hooksmith/kernel/compile"
)

// terminal is the user's: both standard input and output are one.
type terminal struct {
	in, out *os.File
	name    string
}

// findTerminal returns nil if there is none.
func findTerminal(a *app) *terminal {
	in, inFile := a.stdin.(*os.File)
	out, outFile := a.stdout.(*os.File)
	if !inFile || !outFile || !a.isTerminal(in) || !a.isTerminal(out) {
		return nil
	}
	name, _ := a.lookupEnv("TERM")
	if name == "" {
		name = "xterm"
	}
	return &terminal{in, out, name}
}

// use gives the terminal to what needs all of it: every key goes there, Ctrl-C
// too, and it hears when the size changes. The terminal is restored after it,
// whatever happens.
func (t *terminal) use(run func(compile.Terminal) error) (err error) {
	state, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return err
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	changes, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		for {
			select {
			case <-resized:
				select {
				case changes <- struct{}{}:
				default: // one that is not served yet stands for this one too
				}
			case <-done:
				return
			}
		}
	}()
	defer func() {
		signal.Stop(resized)
		close(done)
		// What a program that was cut off leaves switched on: the alternate
		// screen, a hidden cursor, colours, keypad mode.
		if err != nil {
			_, _ = io.WriteString(t.out, "\x1b[?1049l\x1b[?25h\x1b[0m\x1b[?1l\x1b>")
		}
		err = errors.Join(err, term.Restore(int(t.in.Fd()), state))
	}()
	return run(compile.Terminal{In: t.in, Out: t.out, Name: t.name, Size: t.size, Resize: changes})
}

func (t *terminal) size() (cols, rows uint) {
	c, r, err := term.GetSize(int(t.out.Fd()))
	if err != nil || c <= 0 || r <= 0 {
		return 80, 24
	}
	return uint(c), uint(r)
}
