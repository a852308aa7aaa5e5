package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/oci"
)

// Places of HookOS.
const (
	RuncRoot = "/run/runc"
	StateDir = "/run/hooksmith"
	LogDir   = "/var/log"
)

const usage = `usage: service list                     all services and what they do
       service status NAME              one of them
       service logs [-f] NAME           its output; -f goes on with what comes
       service restart|stop|start NAME
       service exec NAME [COMMAND...]   run a command (sh) inside it`

// errUsage is a command line that makes no sense.
var errUsage = errors.New(usage)

// Run is the applet `service`.
func Run(ctx context.Context, args []string, stdout, _ io.Writer) error {
	return applet{socket: Socket, logs: LogDir}.run(ctx, args, stdout)
}

// applet is the client's side, with the places it looks at.
type applet struct {
	socket, logs string
}

func (a applet) run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		args = []string{"list"}
	}
	switch verb, rest := args[0], args[1:]; {
	case verb == "list" && len(rest) == 0:
		infos, err := ask(ctx, a.socket, request{Verb: list})
		if err != nil {
			return err
		}
		return table(stdout, infos)
	case verb == "status" && len(rest) == 1:
		return a.status(ctx, rest[0], stdout)
	case verb == "logs" && len(rest) == 1:
		return a.print(ctx, rest[0], stdout, once)
	case verb == "logs" && len(rest) == 2 && rest[0] == "-f":
		return a.print(ctx, rest[1], stdout, following)
	case (verb == "start" || verb == "stop" || verb == "restart") && len(rest) == 1:
		infos, err := ask(ctx, a.socket, request{Verb: Verb(verb), Name: rest[0]})
		if err != nil {
			return err
		}
		return show(stdout, infos, rest[0])
	case verb == "exec" && len(rest) > 0:
		return execute(rest[0], rest[1:])
	case verb == "help" || verb == "--help" || verb == "-h":
		_, err := fmt.Fprintln(stdout, usage)
		return err
	}
	return errUsage
}

func (a applet) status(ctx context.Context, name string, stdout io.Writer) error {
	infos, err := ask(ctx, a.socket, request{Verb: list})
	if err != nil {
		return err
	}
	return show(stdout, infos, name)
}

// show prints one service in full.
func show(w io.Writer, infos []Info, name string) error {
	for _, i := range infos {
		if i.Name != name {
			continue
		}
		rows := [][2]string{
			{"name", i.Name}, {"kind", i.Kind}, {"state", fmt.Sprintf("%s for %s", i.State, since(i))}, {"pid", pid(i)},
			{"restarts", fmt.Sprint(i.Restarts)}, {"last", i.Last}, {"log", i.Log},
		}
		for _, row := range rows {
			if row[1] != "" {
				fmt.Fprintf(w, "%-9s %s\n", row[0], row[1])
			}
		}
		return nil
	}
	return fmt.Errorf("%s: %w; `service list` shows them", name, ErrNotFound)
}

func table(w io.Writer, infos []Info) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tKIND\tSTATE\tPID\tRESTARTS\tSINCE\tLAST EXIT")
	for _, i := range infos {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", i.Name, i.Kind, i.State, pid(i), i.Restarts, since(i), i.Last)
	}
	return t.Flush()
}

func pid(i Info) string {
	if i.PID == 0 {
		return ""
	}
	return fmt.Sprint(i.PID)
}

func since(i Info) string { return time.Since(i.Since).Round(time.Second).String() }

// logPath finds the log of a service, else that of an onboot or onshutdown container. It asks nobody: logs must be
// readable when nothing else works.
func (a applet) logPath(name string) (string, error) {
	if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return "", fmt.Errorf("%q: %w", name, ErrNotFound)
	}
	for _, prefix := range []string{"", "onboot.", "onshutdown."} {
		path := filepath.Join(a.logs, prefix+name+".log")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w: there is no %s", name, ErrNotFound, filepath.Join(a.logs, name+".log"))
}

// execute replaces this process by a command inside the container.
func execute(name string, command []string) error {
	bin, err := oci.Find()
	if err != nil {
		return err
	}
	if len(command) == 0 {
		command = []string{"sh"}
	}
	args := oci.Runc{Bin: bin, Root: RuncRoot}.ExecArgs(name, onTerminal(0, 1), command)
	return fmt.Errorf("running %s: %w", bin, unix.Exec(bin, args, os.Environ()))
}

// onTerminal tells whether all of these are terminals. What is written to a pipe or a file must not go through one, which
// changes bytes: docker save | ssh.
func onTerminal(fds ...int) bool {
	for _, fd := range fds {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return false
		}
	}
	return true
}
