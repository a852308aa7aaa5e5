package kernelconfig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"hooksmith/kernel/compile"
	"hooksmith/kernel/kconfig"
)

// Workspace is a kernel's source with a .config: *compile.Workspace.
type Workspace interface {
	Run(ctx context.Context, out io.Writer, cmd ...string) error
	Terminal(ctx context.Context, tty compile.Terminal, cmd ...string) error
	ReadFile(ctx context.Context, name string) ([]byte, error)
	WriteFile(ctx context.Context, name string, data []byte) error
}

// Session changes the configuration of a workspace, which is a copy.
type Session struct {
	work    Workspace
	srcArch string         // x86 or arm64
	before  kconfig.Config // as the workspace was opened
	tree    *kconfig.Tree  // read when it is asked for
	modules *kconfig.Modules
}

// Start begins a session in a workspace that was just opened.
func Start(ctx context.Context, w Workspace, arch string) (*Session, error) {
	srcArch, err := kconfig.Arch(arch)
	if err != nil {
		return nil, err
	}
	s := &Session{work: w, srcArch: srcArch}
	s.before, err = s.config(ctx)
	return s, err
}

// config is the .config as it is now.
func (s *Session) config(ctx context.Context) (kconfig.Config, error) {
	data, err := s.work.ReadFile(ctx, ".config")
	if err != nil {
		return nil, err
	}
	c, err := kconfig.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading .config of the kernel: %w", err)
	}
	return c, nil
}

// Changes are what the session has changed so far.
func (s *Session) Changes(ctx context.Context) ([]kconfig.Change, error) {
	now, err := s.config(ctx)
	return kconfig.Diff(s.before, now), err
}

// Saved is the configuration as savedefconfig writes it: what is not the
// kernel's default.
func (s *Session) Saved(ctx context.Context) ([]byte, error) {
	if err := s.work.Run(ctx, nil, "make", "savedefconfig"); err != nil {
		return nil, err
	}
	return s.work.ReadFile(ctx, "defconfig")
}

const filesPath = "/tmp/hooksmith-kconfig.tar"

// load reads the Kconfig files and Makefiles of the source, patched as it is.
func (s *Session) load(ctx context.Context) error {
	if s.tree != nil {
		return nil
	}
	const script = `find . -type f \( -name '*Kconfig*' -o -name Makefile -o -name Kbuild \) -print0 | tar -cf "$1" --null -T -`
	if err := s.work.Run(ctx, nil, "sh", "-c", script, "sh", filesPath); err != nil {
		return err
	}
	data, err := s.work.ReadFile(ctx, filesPath)
	if err != nil {
		return err
	}
	source, err := kconfig.ReadTar(bytes.NewReader(data), 0)
	if err != nil {
		return err
	}
	tree, err := kconfig.ParseTree(source, s.srcArch)
	if err != nil {
		return fmt.Errorf("reading the kernel's Kconfig files: %w", err)
	}
	s.modules, err = kconfig.ParseMakefiles(source, s.srcArch)
	if err != nil {
		return fmt.Errorf("reading the kernel's Makefiles: %w", err)
	}
	s.tree = tree
	return nil
}

// Menu runs menuconfig at a terminal. What it saved is in the workspace then;
// Changes tells what that is. Ctrl-C is menuconfig's, which asks whether to
// save: make must not die of it.
func (s *Session) Menu(ctx context.Context, tty compile.Terminal) error {
	err := s.work.Terminal(ctx, tty, "sh", "-c", `trap "" INT; exec make --no-print-directory menuconfig`)
	if err != nil {
		return err
	}
	return s.settle(ctx)
}

// PrepareMenu compiles menuconfig, so that Menu begins at once and with a
// terminal in which only menuconfig reads. Its errors are Menu's to show.
func (s *Session) PrepareMenu(ctx context.Context) error {
	err := s.work.Run(ctx, nil, "make", "-s", "build_menuconfig")
	var exit *compile.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// Shell runs a shell at a terminal. Its exit status is that of the last
// command in it, and means nothing.
func (s *Session) Shell(ctx context.Context, tty compile.Terminal) error {
	err := s.work.Terminal(ctx, tty, "bash")
	var exit *compile.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	return s.settle(ctx)
}

// settle makes the .config a whole one again, after somebody edited it.
func (s *Session) settle(ctx context.Context) error {
	return s.work.Run(ctx, nil, "make", "olddefconfig")
}
