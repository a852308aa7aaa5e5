package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
)

// apiBuildKit is the first version of the API that offers BuildKit to all.
const apiBuildKit = "1.39"

// build makes the image of a folder, with the daemon's builder and build
// cache, and tags it. Base images are pulled again only if pull says so.
func (d *daemon) build(ctx context.Context, f Folder, pull bool) (err error) {
	api, err := d.connect(ctx)
	if err != nil {
		return err
	}
	files, err := contextFiles(ctx, f.Dir)
	if err != nil {
		return err
	}
	cfg, err := d.docker.configFile()
	if err != nil {
		return fmt.Errorf("reading docker's configuration: %w", err)
	}
	_, done := d.progress.start("building "+f.Name, 0)
	defer func() { done(err) }()
	if d.hasBuildKit(api) {
		err = d.buildKit(ctx, api, cfg, f, files, pull)
		// Daemons before 27.5 with the containerd store do not find the context:
		// https://github.com/moby/moby/issues/47717
		if err == nil || !strings.Contains(err.Error(), "failed to read downloaded context") {
			return err
		}
		d.log.Warn("this Docker daemon's BuildKit takes no build context, building with the classic builder", "folder", f.Dir)
	}
	opts := d.buildOptions(cfg, f, pull)
	classicOptions(&opts, f, cfg)
	if files, err = declareArgs(files); err != nil {
		return err
	}
	return d.runBuild(ctx, api, f, files, opts)
}

func (d *daemon) buildOptions(cfg *configfile.ConfigFile, f Folder, pull bool) build.ImageBuildOptions {
	return build.ImageBuildOptions{
		Tags: []string{f.Ref}, Dockerfile: "Dockerfile", Remove: true, ForceRemove: true, PullParent: pull,
		Platform: f.platform.String(), BuildArgs: proxyArgs(cfg, d.host.address), Version: build.BuilderV1,
	}
}

func (d *daemon) buildKit(ctx context.Context, api *client.Client, cfg *configfile.ConfigFile, f Folder, files []contextFile, pull bool) error {
	s, err := openSession(ctx, api, cfg)
	if err != nil {
		return fmt.Errorf("opening a BuildKit session: %w", err)
	}
	defer s.close()
	opts := d.buildOptions(cfg, f, pull)
	opts.Version, opts.SessionID = build.BuilderBuildKit, s.id
	return d.runBuild(ctx, api, f, files, opts)
}

// hasBuildKit reports whether to build with BuildKit, as the docker command
// does: unless the daemon is too old or DOCKER_BUILDKIT=0.
func (d *daemon) hasBuildKit(api *client.Client) bool {
	switch strings.ToLower(d.docker.getenv("DOCKER_BUILDKIT")) {
	case "0", "false", "f":
		return false
	}
	return versions.GreaterThanOrEqualTo(api.ClientVersion(), apiBuildKit)
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
func classicOptions(opts *build.ImageBuildOptions, f Folder, cfg *configfile.ConfigFile) {
	p := f.platform
	for name, value := range map[string]string{"TARGETPLATFORM": p.String(), "TARGETOS": p.OS, "TARGETARCH": p.Architecture, "TARGETVARIANT": p.Variant} {
		opts.BuildArgs[name] = &value
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

// declareArgs declares the platform's arguments where FROM uses them, as in
// upstream's FROM --platform=${TARGETARCH}: only BuildKit knows them unasked.
// Parser directives have to stay first.
func declareArgs(files []contextFile) ([]contextFile, error) {
	out := slices.Clone(files)
	for i, f := range out {
		if f.name != "Dockerfile" || !f.info.Mode().IsRegular() {
			continue
		}
		text, err := readLimited(f.path, 1<<20)
		if err != nil {
			return nil, err
		}
		if platformFrom.Match(text) {
			end := len(directives.Find(text))
			args := "ARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nARG TARGETVARIANT\n"
			out[i].text = slices.Concat(text[:end], []byte(args), text[end:])
		}
	}
	return out, nil
}

// runBuild sends the context while the daemon reads it, and follows the build.
func (d *daemon) runBuild(ctx context.Context, api *client.Client, f Folder, files []contextFile, opts build.ImageBuildOptions) error {
	pr, pw := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := writeContext(ctx, pw, files)
		pw.CloseWithError(err)
		sent <- err
	}()
	resp, err := api.ImageBuild(ctx, pr, opts)
	if err == nil {
		defer resp.Body.Close()
		err = followBuild(resp.Body)
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
	return buildError(f, err)
}

// buildError adds what usually helps.
func buildError(f Folder, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "exec format error"):
		return hinted(err, "docker build of %s: %s\nits programs are for %s, which this machine cannot run: install qemu-user-static and binfmt-support", f.Dir, text, f.platform)
	case strings.Contains(text, "pull access denied"), strings.Contains(text, "failed to resolve source metadata"), strings.Contains(text, "failed to do request"):
		return hinted(err, "docker build of %s: %s\nits base images (%s) must be in the daemon or in a registry that it reaches: check their names, the daemon's network, docker login", f.Dir, text, baseImages(f.Dir))
	}
	return fmt.Errorf("docker build of %s: %w", f.Dir, err)
}

// tailLines is how much of a build's output an error shows.
const tailLines = 30

// followBuild reads the daemon's messages up to the end of the build. The
// error is the build's, with the end of its output.
func followBuild(r io.Reader) error {
	dec := json.NewDecoder(r)
	var out tail
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
			return out.explain(max(m.Error, m.ErrorDetail.Message))
		}
	}
}

// tail keeps the last lines of a build's output.
type tail struct {
	lines []string
	open  string // a line whose end did not come yet
}

func (t *tail) add(s string) {
	lines := strings.Split(t.open+s, "\n")
	t.open = lines[len(lines)-1]
	if len(t.open) > 4096 {
		t.open = t.open[len(t.open)-4096:]
	}
	for _, l := range lines[:len(lines)-1] {
		if l = strings.TrimRight(l, " \r"); l != "" {
			t.lines = append(t.lines, l)
		}
	}
	if n := len(t.lines); n > tailLines {
		t.lines = append([]string(nil), t.lines[n-tailLines:]...)
	}
}

func (t *tail) explain(message string) error {
	t.add("\n")
	if len(t.lines) == 0 {
		return errors.New(message)
	}
	return fmt.Errorf("%s\nthe end of its output:\n  %s", message, strings.Join(t.lines, "\n  "))
}
