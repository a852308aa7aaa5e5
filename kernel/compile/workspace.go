package compile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"hooksmith/build/docker"
)

const (
	// CacheVolume is the volume that ccache's cache stays in.
	CacheVolume = "hooksmith-ccache"
	cacheDir    = "/ccache"
	sourceDir   = "/src/linux"
	scriptPath  = "/src/kernel.sh"
	counterPath = "/src/count.mk"
	externalDir = "/src/external"
	// closeTime is how long cleaning up may take, also after an interrupt.
	closeTime = 2 * time.Minute
)

// Observer shows what takes long.
type Observer interface {
	// Begin starts a step that compiles about so many objects: an estimate, 0
	// if it compiles none.
	Begin(step string, objects int) Task
}

// Task is a step that was begun.
type Task interface {
	Add(objects int)
	Done(err error)
}

// Builder compiles kernels with a Docker daemon. Its zero value finds none.
type Builder struct {
	Docker   docker.Config
	Stage    Stage        // of the Dockerfile; "": Toolchain
	Network  string       // with which the toolchain is made; "": Docker's default
	TempDir  string       // for the result; "": the system's
	Log      *slog.Logger // nil: silent
	Observer Observer     // nil: nobody
	Output   io.Writer    // gets what builders and make print; nil: nobody
}

func (b *Builder) log() *slog.Logger {
	if b.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return b.Log
}

func (b *Builder) raw() io.Writer {
	if b.Output == nil {
		return io.Discard
	}
	return b.Output
}

type noTask struct{}

func (noTask) Add(int)    {}
func (noTask) Done(error) {}

func (b *Builder) begin(step string, objects int) Task {
	if b.Observer == nil {
		return noTask{}
	}
	return b.Observer.Begin(step, objects)
}

// Workspace is a container with a kernel's source, patched and configured, and
// what compiles it. Its working folder is the source. Cancelling the context
// of one of its methods ends the command for the caller only; Close ends it.
type Workspace struct {
	spec   Spec
	daemon *docker.Daemon
	id     string
	env    []string
	hold   types.HijackedResponse // its end is the end of the container
	once   sync.Once
	closed error
}

// Open makes a workspace: toolchain, source, patches, external modules,
// command line, configuration by olddefconfig. The caller closes it.
func (b *Builder) Open(ctx context.Context, s Spec) (w *Workspace, err error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	d, err := b.Docker.Connect(ctx)
	if err != nil {
		return nil, err
	}
	w = &Workspace{spec: s, daemon: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
			w = nil
		}
	}()
	if err := b.sweep(ctx, d); err != nil {
		return w, err
	}
	image, err := b.toolchain(ctx, d)
	if err != nil {
		return w, err
	}
	if err := w.start(ctx, image); err != nil {
		return w, err
	}
	return w, w.prepare(ctx, b)
}

// start makes the container and holds it: it lives as long as somebody holds
// its standard input, so that it ends with this process however that ends.
func (w *Workspace) start(ctx context.Context, image string) error {
	info, err := w.daemon.Info(ctx)
	if err != nil {
		return w.daemon.Explain(err)
	}
	w.env = append(w.spec.environment(info.Architecture), "CCACHE_STATSLOG=/tmp/ccache.log")
	if w.spec.Jobs == 0 {
		w.spec.Jobs = max(info.NCPU, 1)
	}
	created, err := w.daemon.ContainerCreate(ctx, &container.Config{
		Image: image, Cmd: []string{"cat"}, OpenStdin: true, StdinOnce: true, AttachStdin: true,
		WorkingDir: "/src", Labels: map[string]string{workspaceLabel: owner()},
	}, &container.HostConfig{
		AutoRemove: true, NetworkMode: "none",
		Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: CacheVolume, Target: cacheDir}},
	}, nil, nil, "")
	if err != nil {
		return fmt.Errorf("making a container of %s: %w", image, w.daemon.Explain(err))
	}
	w.id = created.ID
	w.hold, err = w.daemon.ContainerAttach(ctx, w.id, container.AttachOptions{Stream: true, Stdin: true})
	if err != nil {
		return fmt.Errorf("attaching to the container: %w", w.daemon.Explain(err))
	}
	if err := w.daemon.ContainerStart(ctx, w.id, container.StartOptions{}); err != nil {
		return fmt.Errorf("starting the container: %w", w.daemon.Explain(err))
	}
	return nil
}

// prepare fills the workspace.
func (w *Workspace) prepare(ctx context.Context, b *Builder) (err error) {
	for path, data := range map[string][]byte{scriptPath: script, counterPath: counter} {
		if err := w.WriteFile(ctx, path, data); err != nil {
			return err
		}
	}
	if err := w.needSpace(ctx, sourceSpace, "the source"); err != nil {
		return err
	}
	task := b.begin("unpacking "+w.spec.Source.String(), 0)
	err = w.copySources(ctx)
	task.Done(err)
	if err != nil {
		return err
	}
	for _, p := range w.spec.Patches {
		if err := w.patch(ctx, p); err != nil {
			return err
		}
	}
	if err := w.step(ctx, b.raw(), "cmdline"); err != nil {
		return err
	}
	if err := w.WriteFile(ctx, sourceDir+"/.config", w.spec.Config); err != nil {
		return err
	}
	task = b.begin("configuring "+w.spec.ConfigName, 0)
	err = w.step(ctx, b.raw(), "configure")
	task.Done(err)
	if err != nil {
		return err
	}
	return w.tellDropped(ctx, b)
}

// copySources copies source and external modules in. Their tars are verified
// while they are read, and an error of theirs is that of copying.
func (w *Workspace) copySources(ctx context.Context) error {
	r, err := w.spec.Source.Tar(ctx)
	if err != nil {
		return err
	}
	if err := w.copyTar(ctx, "/src", r); err != nil {
		return err
	}
	for _, e := range w.spec.External {
		// Docker copies into folders that are there only.
		if err := w.WriteFile(ctx, externalDir+"/.hooksmith", nil); err != nil {
			return err
		}
		r, err := e.Tar(ctx)
		if err != nil {
			return err
		}
		if err := w.copyTar(ctx, externalDir, r); err != nil {
			return err
		}
	}
	return nil
}

// step runs a step of kernel.sh.
func (w *Workspace) step(ctx context.Context, out io.Writer, args ...string) error {
	return w.Run(ctx, out, append([]string{"sh", scriptPath}, args...)...)
}

// output runs a step of kernel.sh that prints one line.
func (w *Workspace) output(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	err := w.step(ctx, &out, args...)
	return strings.TrimSpace(out.String()), err
}

// Release is what the kernel calls itself: 6.12.48, with what the
// configuration adds.
func (w *Workspace) Release(ctx context.Context) (string, error) { return w.output(ctx, "release") }

// Close removes the container with all that is in it, also after the context
// of the others has ended.
func (w *Workspace) Close() error {
	w.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		if w.id != "" {
			w.closed = removeContainer(ctx, w.daemon, w.id)
		}
		if w.hold.Conn != nil {
			w.hold.Close()
		}
		w.daemon.Close()
	})
	return w.closed
}
