package compile

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"hooksmith/build/docker"
)

// Run runs a command in the source's folder. Both of its outputs go to out; nil
// drops them. Another status than 0 is an *ExitError.
func (w *Workspace) Run(ctx context.Context, out io.Writer, cmd ...string) error {
	created, err := w.daemon.ContainerExecCreate(ctx, w.id, container.ExecOptions{
		Cmd: cmd, Env: w.env, WorkingDir: w.workDir(), AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return w.explain(cmd, err)
	}
	conn, err := w.daemon.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return w.explain(cmd, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	tail, wrong := &docker.Tail{W: out}, &errorLines{}
	both := io.MultiWriter(wrong, tail)
	if _, err := stdcopy.StdCopy(both, both, conn.Reader); err != nil {
		return w.explain(cmd, errors.Join(ctx.Err(), err))
	}
	status, err := w.status(ctx, created.ID)
	switch {
	case err != nil:
		return w.explain(cmd, err)
	case status == 0:
		return nil
	}
	return &ExitError{Command: cmd, Status: status, Lines: tail.Lines(), Errors: wrong.lines}
}

// workDir is the source's folder. Docker makes it if it is not there yet.
func (w *Workspace) workDir() string { return sourceDir }

func (w *Workspace) explain(cmd []string, err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	return fmt.Errorf("running %s in the container: %w", cmd[0], w.daemon.Explain(err))
}

// status is the exit status of a command that ended.
func (w *Workspace) status(ctx context.Context, id string) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	got, err := w.daemon.ContainerExecInspect(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("the container is gone: %w", err)
	}
	if got.Running {
		return 0, errors.New("the connection to the Docker daemon was cut")
	}
	return got.ExitCode, nil
}

// Terminal is the terminal of a user, which is in raw mode already.
type Terminal struct {
	In     io.Reader // a Read that is under way when the command ends is left alone
	Out    io.Writer
	Name   string                   // TERM
	Size   func() (cols, rows uint) // nil: the container's default
	Resize <-chan struct{}          // a value for each change of the size; nil: never
}

// Terminal runs a command with a terminal: menuconfig, a shell. Another status
// than 0 is an *ExitError, without lines: the user saw them.
func (w *Workspace) Terminal(ctx context.Context, tty Terminal, cmd ...string) error {
	opts := container.ExecOptions{
		Cmd: cmd, Env: append([]string{"TERM=" + tty.Name}, w.env...), WorkingDir: w.workDir(),
		Tty: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
	}
	attach := container.ExecAttachOptions{Tty: true}
	if tty.Size != nil {
		cols, rows := tty.Size()
		opts.ConsoleSize = &[2]uint{rows, cols}
		attach.ConsoleSize = opts.ConsoleSize
	}
	created, err := w.daemon.ContainerExecCreate(ctx, w.id, opts)
	if err != nil {
		return w.explain(cmd, err)
	}
	conn, err := w.daemon.ContainerExecAttach(ctx, created.ID, attach)
	if err != nil {
		return w.explain(cmd, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	go func() {
		_, _ = io.Copy(conn.Conn, tty.In)
		_ = conn.CloseWrite()
	}()
	if err := w.show(ctx, created.ID, conn, tty); err != nil {
		return w.explain(cmd, err)
	}
	status, err := w.status(ctx, created.ID)
	switch {
	case err != nil:
		return w.explain(cmd, err)
	case status == 0:
		return nil
	}
	return &ExitError{Command: cmd, Status: status}
}

// show copies the command's output, and passes changes of the size on, until
// the command ends.
func (w *Workspace) show(ctx context.Context, id string, conn types.HijackedResponse, tty Terminal) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(tty.Out, conn.Reader)
		done <- err
	}()
	w.resize(ctx, id, tty) // daemons before 1.42 take no size with the command
	for {
		select {
		case err := <-done:
			return errors.Join(ctx.Err(), err)
		case _, open := <-tty.Resize:
			if !open {
				tty.Resize = nil
			}
			w.resize(ctx, id, tty)
		}
	}
}

func (w *Workspace) resize(ctx context.Context, id string, tty Terminal) {
	if tty.Size == nil {
		return
	}
	cols, rows := tty.Size()
	// A command that has just ended has no size any more.
	_ = w.daemon.ContainerExecResize(ctx, id, container.ResizeOptions{Height: rows, Width: cols})
}
