package docker

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// apiBuildKit is the first version of the API that offers BuildKit to all.
const apiBuildKit = "1.39"

// Build is what `docker build` gets.
type Build struct {
	Name     string            // what is built, for errors: a folder
	Tag      string            // of the image
	Target   string            // stage of the Dockerfile; "": the last
	Platform v1.Platform       // zero: the daemon's
	Args     map[string]string // build arguments
	Labels   map[string]string // of the image
	Network  string            // of RUN; "": the daemon's default
	Pull     bool              // look for newer base images

	// Context writes the build context, a tar with a Dockerfile. It is called
	// again if the daemon's BuildKit cannot take it.
	Context func(ctx context.Context, w io.Writer) error
	// Output gets what the builder says, steps and their output; nil: nobody.
	Output io.Writer
	// Retry is told why BuildKit is not used although the daemon has it; nil: nobody.
	Retry func(reason string)
}

// Build makes an image with the daemon's builder and build cache, and tags it.
// The error has the end of the build's output. A build whose ctx ends leaves
// no image.
func (d *Daemon) Build(ctx context.Context, b Build) error {
	if d.hasBuildKit() {
		err := d.buildKit(ctx, b)
		// Daemons before 27.5 with the containerd store do not find the context:
		// https://github.com/moby/moby/issues/47717
		if err == nil || !strings.Contains(err.Error(), "failed to read downloaded context") {
			return err
		}
		if b.Retry != nil {
			b.Retry("this Docker daemon's BuildKit takes no build context, building with the classic builder")
		}
	}
	opts := d.buildOptions(b)
	classicOptions(&opts, b, d.file)
	inner := b.Context
	b.Context = func(ctx context.Context, w io.Writer) error { return declareArgs(ctx, w, inner) }
	return d.runBuild(ctx, b, opts)
}

func (d *Daemon) buildOptions(b Build) build.ImageBuildOptions {
	opts := build.ImageBuildOptions{
		Dockerfile: "Dockerfile", Target: b.Target, Remove: true, ForceRemove: true, PullParent: b.Pull,
		Labels: b.Labels, NetworkMode: b.Network, BuildArgs: proxyArgs(d.file, d.host.address), Version: build.BuilderV1,
	}
	if b.Tag != "" {
		opts.Tags = []string{b.Tag}
	}
	if b.Platform.Architecture != "" {
		opts.Platform = b.Platform.String()
	}
	for name, value := range maps.All(b.Args) {
		opts.BuildArgs[name] = &value
	}
	return opts
}

func (d *Daemon) buildKit(ctx context.Context, b Build) error {
	s, err := openSession(ctx, d.Client, d.file)
	if err != nil {
		return fmt.Errorf("opening a BuildKit session: %w", err)
	}
	defer s.close()
	opts := d.buildOptions(b)
	opts.Version, opts.SessionID = build.BuilderBuildKit, s.id
	return d.runBuild(ctx, b, opts)
}

// hasBuildKit reports whether to build with BuildKit, as the docker command
// does: unless the daemon is too old or DOCKER_BUILDKIT=0.
func (d *Daemon) hasBuildKit() bool {
	switch strings.ToLower(d.config.getenv("DOCKER_BUILDKIT")) {
	case "0", "false", "f":
		return false
	}
	return versions.GreaterThanOrEqualTo(d.ClientVersion(), apiBuildKit)
}

// proxyArgs are the build arguments for the proxies of docker's config.json.
func proxyArgs(cfg *configfile.ConfigFile, host string) map[string]*string {
	if args := cfg.ParseProxyConfig(host, nil); args != nil {
		return args
	}
	return map[string]*string{}
}

// classicOptions adds what BuildKit does by itself: the platform's arguments,
// and credentials, which BuildKit asks for when it needs them.
func classicOptions(opts *build.ImageBuildOptions, b Build, cfg *configfile.ConfigFile) {
	if p := b.Platform; p.Architecture != "" {
		for name, value := range map[string]string{"TARGETPLATFORM": p.String(), "TARGETOS": p.OS, "TARGETARCH": p.Architecture, "TARGETVARIANT": p.Variant} {
			opts.BuildArgs[name] = &value
		}
	}
	all, err := cfg.GetAllCredentials()
	if err != nil {
		return // a helper that fails matters only if the base image is private, and then docker says so
	}
	opts.AuthConfigs = map[string]registry.AuthConfig{}
	for host, a := range all {
		opts.AuthConfigs[host] = registry.AuthConfig{
			Username: a.Username, Password: a.Password, Auth: a.Auth,
			ServerAddress: a.ServerAddress, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
		}
	}
}

var (
	platformFrom = regexp.MustCompile(`(?im)^\s*FROM\s.*\$\{?TARGET(PLATFORM|OS|ARCH|VARIANT)`)
	directives   = regexp.MustCompile(`\A(\s*#\s*[a-zA-Z]+\s*=.*\n)*`)
)

// maxDockerfile bounds a Dockerfile.
const maxDockerfile = 1 << 20

// declareArgs copies a build context, and declares the platform's arguments
// where FROM uses them, as in upstream's FROM --platform=${TARGETARCH}: only
// BuildKit knows them unasked.
func declareArgs(ctx context.Context, w io.Writer, write func(context.Context, io.Writer) error) error {
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := write(ctx, pw)
		pw.CloseWithError(err)
		done <- err
	}()
	err := copyContext(w, pr)
	pr.CloseWithError(io.ErrClosedPipe)
	if sendErr := <-done; sendErr != nil && !errors.Is(sendErr, io.ErrClosedPipe) {
		return sendErr
	}
	return err
}

func copyContext(w io.Writer, r io.Reader) error {
	tw, tr := tar.NewWriter(w), tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			if err := tw.Close(); err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r) // lets the writer write its last blocks
			return err
		}
		if err != nil {
			return err
		}
		var content io.Reader = tr
		if h.Name == "Dockerfile" && h.Typeflag == tar.TypeReg {
			if h.Size > maxDockerfile {
				return fmt.Errorf("the Dockerfile has %d bytes, more than %d", h.Size, maxDockerfile)
			}
			text, err := io.ReadAll(tr)
			if err != nil {
				return err
			}
			text = withArgs(text)
			h.Size, content = int64(len(text)), strings.NewReader(string(text))
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, content); err != nil {
			return err
		}
	}
}

// withArgs is a Dockerfile with the platform's arguments declared, if a FROM
// uses one. Parser directives have to stay first.
func withArgs(text []byte) []byte {
	if !platformFrom.Match(text) {
		return text
	}
	end := len(directives.Find(text))
	args := "ARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nARG TARGETVARIANT\n"
	return slices.Concat(text[:end], []byte(args), text[end:])
}

// runBuild sends the context while the daemon reads it, and follows the build.
func (d *Daemon) runBuild(ctx context.Context, b Build, opts build.ImageBuildOptions) error {
	pr, pw := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := b.Context(ctx, pw)
		pw.CloseWithError(err)
		sent <- err
	}()
	resp, err := d.ImageBuild(ctx, pr, opts)
	if err == nil {
		defer resp.Body.Close()
		err = followBuild(resp.Body, b.Output)
	}
	pr.Close() // ends the sender if the daemon did not read all
	if sendErr := <-sent; sendErr != nil && !errors.Is(sendErr, io.ErrClosedPipe) {
		err = sendErr
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case client.IsErrConnectionFailed(err):
		return d.host.explain(err)
	}
	return buildError(b, err)
}

// ErrBaseImage is wrapped by the error of a build whose base image could not
// be had.
var ErrBaseImage = errors.New("a base image is not to be had")

// buildError adds what usually helps.
func buildError(b Build, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "exec format error"):
		return Hinted(err, "docker build of %s: %s\nits programs are for %s, which this machine cannot run: install qemu-user-static and binfmt-support", b.Name, text, b.Platform)
	case strings.Contains(text, "pull access denied"), strings.Contains(text, "failed to resolve source metadata"), strings.Contains(text, "failed to do request"):
		return Hinted(fmt.Errorf("%w: %w", ErrBaseImage, err), "docker build of %s: %s\nits base images must be in the daemon or in a registry that it reaches: check their names, the daemon's network, docker login", b.Name, text)
	}
	return fmt.Errorf("docker build of %s: %w", b.Name, err)
}

// followBuild reads the daemon's messages up to the end of the build. The
// error is the build's, with the end of its output.
func followBuild(r io.Reader, w io.Writer) error {
	dec := json.NewDecoder(r)
	out := Tail{W: w}
	for {
		var m struct {
			Stream      string                   `json:"stream"`
			Error       string                   `json:"error"`
			ErrorDetail struct{ Message string } `json:"errorDetail"`
			ID          string                   `json:"id"`
			Aux         json.RawMessage          `json:"aux"`
		}
		err := dec.Decode(&m)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the build's output: %w", err)
		}
		out.add(m.Stream)
		if m.ID == "moby.buildkit.trace" {
			out.add(traceText(m.Aux))
		}
		if m.Error != "" || m.ErrorDetail.Message != "" {
			return out.Explain(max(m.Error, m.ErrorDetail.Message))
		}
	}
}
