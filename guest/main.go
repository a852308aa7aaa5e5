// Command hookguest is every program of ours inside HookOS in one static binary: PID 1, its helpers, and the entry
// points of the service containers. One file instead of ten costs the initramfs its bytes only once.
//
// It is an applet binary as busybox is: `init`, `service` or `network` run by a link of that name, or as the first
// argument, `hookguest network`. `hookguest help` lists the applets. To add one, add a line to the table in applets.go.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// applet is one program. Its run function gets the arguments after its name; a returned error is printed with the
// name in front and makes the exit status 1.
type applet struct {
	name  string
	about string
	run   func(ctx context.Context, args []string, stdout, stderr io.Writer) error
	// signals says who handles SIGINT and SIGTERM: by default they cancel the context.
	signals signalPolicy
}

type signalPolicy int

const (
	signalsCancel signalPolicy = iota
	// signalsOwn is for init, where SIGTERM asks for a reboot.
	signalsOwn
)

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// run picks the applet by the base name of argv[0], else by the first argument, and returns the exit status.
func run(argv []string, stdout, stderr io.Writer) int {
	a, args, ok := pick(argv)
	if !ok {
		return help(argv, stdout, stderr)
	}
	ctx := context.Background()
	if a.signals == signalsCancel {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
	}
	if err := a.run(ctx, args, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", a.name, err)
		return 1
	}
	return 0
}

func pick(argv []string) (applet, []string, bool) {
	for i := 0; i < 2 && i < len(argv); i++ {
		name := filepath.Base(argv[i])
		for _, a := range applets {
			if a.name == name {
				return a, argv[i+1:], true
			}
		}
	}
	return applet{}, nil, false
}

// help prints the table; only asking for it is a success.
func help(argv []string, stdout, stderr io.Writer) int {
	w, status := stderr, 2
	if len(argv) > 1 && (argv[1] == "help" || argv[1] == "--help" || argv[1] == "-h") {
		w, status = stdout, 0
	} else if len(argv) > 1 {
		fmt.Fprintf(stderr, "hookguest: there is no applet %q\n", argv[1])
	}
	fmt.Fprintln(w, "usage: hookguest APPLET [ARGUMENT...]   (or a link named APPLET)\n\nApplets:")
	for _, a := range applets {
		fmt.Fprintf(w, "  %-10s %s\n", a.name, a.about)
	}
	return status
}
