package compile

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hooksmith/build/docker"
)

// Want says where a kernel goes.
type Want struct {
	Repository string         // ghcr.io/tinkerbell/hook/kernel/hook-kernel; the tag is the Spec's
	Force      bool           // compile although the kernel is there
	Push       bool           // to the registry of Repository
	Export     string         // file for `docker load`; "": none
	Keychain   authn.Keychain // nil: docker's credentials
	Transport  http.RoundTripper
}

// Result is what Make did.
type Result struct {
	Ref      string  // REPOSITORY:TAG
	Digest   v1.Hash // of the image's manifest, as pushed and exported
	Release  string  // "" if it was there already
	Compiled bool
	Where    string // if it was there already: the Docker daemon, or the registry
	Objects  int    // see Kernel
	Hits     int
	Misses   int
}

// registryTime is how long a registry may take to say whether it has a kernel:
// nothing to the time of compiling one, but somebody waits.
const registryTime = 30 * time.Second

// Make sees to it that a kernel is where it is wanted: always in the Docker
// daemon or the registry. It is compiled if neither has it.
func (b *Builder) Make(ctx context.Context, s Spec, want Want) (*Result, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	tag, err := s.Image(want.Repository)
	if err != nil {
		return nil, err
	}
	if want.Keychain == nil {
		want.Keychain = authn.DefaultKeychain
	}
	if want.Export != "" {
		if err := checkExport(want.Export); err != nil {
			return nil, err
		}
	}
	b.sweepFolders()
	d, err := b.Docker.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	result := &Result{Ref: tag.Name()}
	img, done, err := b.existing(ctx, d, tag, want, result)
	if err == nil && img == nil && want.Push {
		err = b.mayPush(ctx, tag, want)
	}
	if err == nil && img == nil {
		img, done, err = b.compiled(ctx, d, s, tag, result)
	}
	if err != nil {
		return nil, err
	}
	defer done()
	return result, b.deliver(ctx, tag, img, want, result)
}

// existing finds the kernel in the daemon or in the registry; nil: nobody has
// it, or it is to be compiled anyway.
func (b *Builder) existing(ctx context.Context, d *docker.Daemon, tag name.Tag, want Want, result *Result) (v1.Image, func(), error) {
	if want.Force {
		return nil, nil, nil
	}
	_, err := d.ImageInspect(ctx, tag.Name())
	switch {
	case err == nil:
		result.Where = "the Docker daemon"
		if want.Push || want.Export != "" {
			return b.saved(ctx, d, tag)
		}
		return empty.Image, func() {}, nil
	case !errdefs.IsNotFound(err):
		return nil, nil, d.Explain(err)
	}
	patience, cancel := context.WithTimeout(ctx, registryTime)
	defer cancel()
	if _, err = remote.Head(tag, b.remote(patience, want)...); err != nil {
		b.log().Debug("the registry was asked for the kernel", "image", tag.Name(), "error", err)
		return nil, nil, ctx.Err() // not there, or not to be asked: it is compiled
	}
	result.Where = "the registry"
	img, err := remote.Image(tag, b.remote(ctx, want)...)
	return img, func() {}, err
}

// saved is an image of the daemon, by way of docker save.
func (b *Builder) saved(ctx context.Context, d *docker.Daemon, tag name.Tag) (v1.Image, func(), error) {
	dir, removeFolder, err := makeFolder(b.TempDir)
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = removeFolder() }
	img, err := save(ctx, d, tag, filepath.Join(dir, "image.tar"))
	if err == nil {
		img, err = original(img, filepath.Join(dir, layerName))
	}
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("docker save %s: %w", tag.Name(), errors.Join(ctx.Err(), err))
	}
	return img, remove, nil
}

func save(ctx context.Context, d *docker.Daemon, tag name.Tag, path string) (v1.Image, error) {
	r, err := d.ImageSave(ctx, []string{tag.Name()})
	if err != nil {
		return nil, d.Explain(err)
	}
	defer r.Close()
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, io.LimitReader(r, maxResult))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return tarball.ImageFromPath(path, nil) // it has one image
}

// compiled compiles the kernel and loads it into the daemon.
func (b *Builder) compiled(ctx context.Context, d *docker.Daemon, s Spec, tag name.Tag, result *Result) (v1.Image, func(), error) {
	k, err := b.Build(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	result.Compiled, result.Release, result.Objects, result.Hits, result.Misses = true, k.Release, k.Objects, k.Hits, k.Misses
	task := b.begin("loading "+tag.Name()+" into Docker", 0)
	err = load(ctx, d, tag, k.Image)
	task.Done(err)
	if err != nil {
		k.Close()
		return nil, nil, fmt.Errorf("docker load %s: %w", tag.Name(), err)
	}
	return k.Image, func() { k.Close() }, nil
}

// load does what docker load does. The daemon gets the image whole or not.
func load(ctx context.Context, d *docker.Daemon, tag name.Tag, img v1.Image) error {
	pr, pw := io.Pipe()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		buffered := bufio.NewWriterSize(pw, 1<<20)
		err := tarball.Write(tag, img, buffered)
		pw.CloseWithError(errors.Join(err, buffered.Flush()))
	}()
	defer func() { pr.Close(); <-sent }()
	answer, err := d.ImageLoad(ctx, pr, client.ImageLoadWithQuiet(true))
	if err != nil {
		return errors.Join(ctx.Err(), d.Explain(err))
	}
	defer answer.Body.Close()
	for dec := json.NewDecoder(answer.Body); ; {
		var m struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&m); {
		case err == io.EOF:
			return nil
		case err != nil:
			return errors.Join(ctx.Err(), err)
		case m.Error != "":
			return errors.New(m.Error)
		}
	}
}

// deliver pushes and exports.
func (b *Builder) deliver(ctx context.Context, tag name.Tag, img v1.Image, want Want, result *Result) (err error) {
	if img == empty.Image {
		return nil
	}
	if result.Digest, err = img.Digest(); err != nil {
		return err
	}
	if want.Export != "" {
		task := b.begin("writing "+want.Export, 0)
		err := export(ctx, tag, img, want.Export)
		task.Done(err)
		if err != nil {
			return fmt.Errorf("writing %s: %w", want.Export, err)
		}
	}
	if !want.Push || result.Where == "the registry" {
		return nil
	}
	task := b.begin("pushing "+tag.Name(), 0)
	err = remote.Write(tag, img, b.remote(ctx, want)...)
	task.Done(err)
	return explainPush(tag, err)
}

func (b *Builder) remote(ctx context.Context, want Want) []remote.Option {
	opts := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(want.Keychain), remote.WithUserAgent("hooksmith")}
	if want.Transport != nil {
		opts = append(opts, remote.WithTransport(want.Transport))
	}
	return opts
}

func explainPush(tag name.Tag, err error) error {
	if err == nil {
		return nil
	}
	if denied(err) {
		return explainDenied(tag, err)
	}
	return hintf(fmt.Errorf("pushing %s: %w", tag.Name(), err), "the kernel is compiled and in the Docker daemon: the same command pushes it, without compiling")
}

func denied(err error) bool {
	var status *transport.Error
	return errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden)
}

func explainDenied(tag name.Tag, err error) error {
	return hintf(fmt.Errorf("pushing %s: %w", tag.Name(), err), "docker login %s, as a user that may write %s; or name another repository with HOOK_KERNEL_OCI_BASE", tag.RegistryStr(), tag.RepositoryStr())
}

// mayPush asks the registry whether a kernel may be pushed, before somebody
// waits for it to be compiled.
func (b *Builder) mayPush(ctx context.Context, tag name.Tag, want Want) error {
	ctx, cancel := context.WithTimeout(ctx, registryTime)
	context.AfterFunc(ctx, cancel) // not now: the registry is told meanwhile that nothing will come
	base := want.Transport
	if base == nil {
		base = remote.DefaultTransport
	}
	err := remote.CheckPushPermission(tag, want.Keychain, &boundTransport{ctx, base})
	switch {
	case err == nil:
		return nil
	case denied(err):
		return explainDenied(tag, err)
	}
	return hintf(fmt.Errorf("pushing %s: %w", tag.Name(), err), "nothing was compiled: without --push the kernel is compiled for Docker, and the same command with it pushes it later")
}

// boundTransport ends requests with a context, for functions that take none.
type boundTransport struct {
	ctx  context.Context
	base http.RoundTripper
}

func (t *boundTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.base.RoundTrip(r.WithContext(t.ctx))
}
