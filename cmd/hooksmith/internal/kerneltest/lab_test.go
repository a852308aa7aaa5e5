package kerneltest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	dockerimage "github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sync/errgroup"

	"hooksmith/build/docker"
	"hooksmith/build/docker/dockertest"
	"hooksmith/build/fetch"
	"hooksmith/kernel/compile"
)

// patience is how long anything may take: two busy cores are slow.
const patience = 20 * time.Minute

// lab is what all tests share.
type lab struct {
	dir       string // kept or temporary
	socket    string
	network   string
	hooksmith string // the program
	base      string // debian:stable as a tar
	trimmed   string // source: see trimSource
	// repository is where kernels would be pushed: in a registry of the tests.
	repository string
	// turns are those of the tests that run beside TestKernel.
	turns   chan struct{} // of who begins: one for each that may run
	cleanup []func()
}

var shared struct {
	once sync.Once
	lab  *lab
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.lab != nil {
		shared.lab.close()
	}
	os.Exit(code)
}

// needLab is the lab, started by the first test that needs it.
func needLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("HOOKSMITH_KERNEL") == "" {
		t.Skip("HOOKSMITH_KERNEL is not set: run make kernel-test")
	}
	shared.once.Do(func() {
		shared.lab = &lab{}
		start := time.Now()
		shared.err = shared.lab.start()
		t.Logf("the lab took %s", time.Since(start).Round(time.Second))
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.lab
}

// turn makes a test run beside TestKernel, and beside one other for each
// processor: they wait for the daemon half of their time. Those that wait for
// their turn count for -parallel, which should be higher than there are tests.
func (l *lab) turn(t *testing.T) {
	t.Helper()
	t.Parallel()
	<-l.turns
	start := time.Now()
	t.Cleanup(func() {
		t.Logf("it took %s", time.Since(start).Round(time.Second))
		l.turns <- struct{}{}
	})
}

func (l *lab) close() {
	for _, f := range slices.Backward(l.cleanup) {
		f()
	}
}

func (l *lab) start() error {
	l.network = cmp.Or(os.Getenv("HOOKSMITH_KERNEL_NETWORK"), "host")
	if l.dir = os.Getenv("HOOKSMITH_KERNEL_DIR"); l.dir == "" {
		dir, err := os.MkdirTemp("", "hooksmith-kernel")
		if err != nil {
			return err
		}
		l.dir = dir
		l.cleanup = append(l.cleanup, func() { _ = os.RemoveAll(dir) })
	}
	l.turns = make(chan struct{}, runtime.NumCPU()+1)
	for range runtime.NumCPU() {
		l.turns <- struct{}{}
	}
	l.hooksmith = filepath.Join(l.dir, "hooksmith")
	l.base = filepath.Join(l.dir, "debian-stable.tar")
	l.trimmed = filepath.Join(l.dir, "linux-trimmed.tar")
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	l.repository = strings.TrimPrefix(srv.URL, "http://") + "/kernel"
	l.cleanup = append(l.cleanup, srv.Close)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// Each uses about one processor, or none while it downloads.
	var all errgroup.Group
	all.Go(l.build)
	all.Go(func() error { return l.trimSource(ctx) })
	all.Go(func() error { return l.startDocker(ctx) })
	return all.Wait()
}

func (l *lab) build() error {
	if out, err := exec.Command("go", "build", "-o", l.hooksmith, "hooksmith/cmd/hooksmith").CombinedOutput(); err != nil {
		return fmt.Errorf("building hooksmith: %w: %s", err, out)
	}
	return nil
}

// toolchain makes the compilers' image, once for all tests.
func (l *lab) toolchain(ctx context.Context) error {
	var said bytes.Buffer
	b := &compile.Builder{Docker: docker.Config{Host: "unix://" + l.socket}, Network: l.network, Output: &said}
	if _, err := b.MakeToolchain(ctx); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}

// startDocker starts a daemon, unless one was named, with the compilers.
func (l *lab) startDocker(ctx context.Context) error {
	if l.socket = os.Getenv("HOOKSMITH_KERNEL_SOCKET"); l.socket != "" {
		return l.toolchain(ctx)
	}
	if reason := dockertest.Missing(); reason != "" {
		return errors.New(reason + "; HOOKSMITH_KERNEL_SOCKET names a Docker daemon that runs")
	}
	d, err := dockertest.Start(filepath.Join(l.dir, "docker"))
	if err != nil {
		return err
	}
	l.socket = d.Socket
	l.cleanup = append(l.cleanup, d.Stop)
	if err := errors.Join(l.keepCache(ctx), l.importBase(ctx, d.Socket)); err != nil {
		return err
	}
	return l.toolchain(ctx)
}

// importBase gives a daemon debian:stable, made of Debian's packages, unless
// it has it: no registry is asked.
func (l *lab) importBase(ctx context.Context, socket string) error {
	d, err := (docker.Config{Host: "unix://" + socket}).Connect(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.ImageInspect(ctx, "debian:stable"); err == nil {
		return nil
	}
	if _, err := os.Stat(l.base); err != nil {
		script, err := filepath.Abs("../../../../scripts/debian-base.sh")
		if err != nil {
			return err
		}
		if out, err := exec.Command(script, l.base).CombinedOutput(); err != nil {
			return fmt.Errorf("making debian:stable: %w: %s", err, out)
		}
	}
	f, err := os.Open(l.base)
	if err != nil {
		return err
	}
	defer f.Close()
	answer, err := d.ImageImport(ctx, dockerimage.ImportSource{Source: f, SourceName: "-"}, "debian:stable", dockerimage.ImportOptions{})
	if err != nil {
		return err
	}
	defer answer.Close()
	said, err := io.ReadAll(answer)
	if err == nil && bytes.Contains(said, []byte(`"error"`)) {
		err = fmt.Errorf("docker import: %s", said)
	}
	return err
}

// daemon is a client of the lab's daemon.
func (l *lab) daemon(t *testing.T) *docker.Daemon {
	t.Helper()
	c, err := (docker.Config{Host: "unix://" + l.socket}).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// command is hooksmith with the lab's daemon and caches, in a folder of its own.
func (l *lab) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(l.hooksmith, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+l.socket, "DOCKER_CONFIG="+cmd.Dir, "XDG_CACHE_HOME="+filepath.Join(l.dir, "cache"),
		"HOOK_KERNEL_OCI_BASE="+l.repository)
	// A killed test process does not leave compilers behind either.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// result is what a hooksmith did.
type result struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// run runs hooksmith to its end, whatever that is.
func (l *lab) run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), time.Since(start).Round(time.Second)}
}

// kernel runs `hooksmith kernel`, which has to work.
func (l *lab) kernel(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	r := l.run(t, cmd)
	t.Logf("%s: %s", strings.Join(cmd.Args[1:], " "), r.took)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	return r
}

// kernelArgs are the flags that every `hooksmith kernel` of the tests has.
func (l *lab) kernelArgs(args ...string) []string {
	return append([]string{"kernel", "--network", l.network}, args...)
}

// leftovers are the containers of a hooksmith, running or not any more, and the
// volumes that anybody made, except the cache.
func (l *lab) leftovers(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	d := l.daemon(t)
	var found []string
	containers, err := d.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "hooksmith.workspace"))})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		if !strings.HasPrefix(c.Labels["hooksmith.workspace"], strconv.Itoa(cmd.Process.Pid)+" ") {
			continue // of another test
		}
		found = append(found, "container "+c.ID[:12]+" "+c.State)
	}
	volumes, err := d.VolumeList(t.Context(), volume.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes.Volumes {
		if v.Name != "hooksmith-ccache" {
			found = append(found, "volume "+v.Name)
		}
	}
	return found
}

// until waits for a condition that will come.
func until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ready(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come in %s", what, patience)
		}
	}
}

func wantParts(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q lacks %q", text, p)
		}
	}
}

// cache is the cache of downloads that hooksmith has in the lab.
func (l *lab) cache() *fetch.Cache {
	return &fetch.Cache{Dir: filepath.Join(l.dir, "cache", "hooksmith")}
}
