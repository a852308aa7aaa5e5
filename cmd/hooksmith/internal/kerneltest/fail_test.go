package kerneltest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	dockerimage "github.com/docker/docker/api/types/image"

	"hooksmith/build/docker/dockertest"
)

// TestKilled: a compilation that ends before its end leaves nothing but the
// cache, whether it may clean up or not.
func TestKilled(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	for name, signal := range map[string]os.Signal{"interrupted": os.Interrupt, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			cmd := l.command(t, l.kernelArgs("hook-vm-amd64", "--source", l.trimmed, "--force", "--progress", "plain")...)
			out := &watched{}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			exited := make(chan struct{})
			go func() { _ = cmd.Wait(); close(exited) }()
			until(t, "the first object of the kernel", func() bool { return ended(exited) || out.has("\n  CC      ") })
			if len(l.leftovers(t, cmd)) == 0 {
				t.Error("there is no container while it compiles: the label that is looked for is wrong")
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			<-exited
			if code := cmd.ProcessState.ExitCode(); name == "interrupted" && code != 130 {
				t.Errorf("exit code %d: %s", code, out)
			}
			if name == "interrupted" && len(l.leftovers(t, cmd)) > 0 {
				t.Errorf("left behind: %q", l.leftovers(t, cmd))
			}
			// Nobody cleans up after a process that was killed: the container ends with its connection.
			until(t, "the end of the container", func() bool { return len(l.leftovers(t, cmd)) == 0 })
			tag := strings.TrimSpace(l.kernel(t, l.command(t, "kernel", "hook-vm-amd64", "--source", l.trimmed, "--print-tag")).stdout)
			if _, err := l.daemon(t).ImageInspect(t.Context(), tag); err == nil {
				t.Errorf("there is an image %s", tag)
			}
			images, err := l.daemon(t).ImageList(t.Context(), dockerimage.ListOptions{All: false})
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range images {
				if len(i.RepoTags) == 0 && len(i.RepoDigests) == 0 {
					t.Errorf("image without a name: %s", i.ID)
				}
			}
		})
	}
}

func ended(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// watched is an output that is looked at while it is written.
type watched struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *watched) has(s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Contains(w.buf.Bytes(), []byte(s))
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// TestErrors: what is wrong is said before anything is compiled, and nothing is
// left behind.
func TestErrors(t *testing.T) {
	l := needLab(t)
	l.turn(t)
	source := l.trimmed
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		args []string
		env  []string
		want []string
	}{
		{"patch that does not apply", []string{"hook-vm-amd64", "--source", source, "--patch", testdata(t, "header.patch"), "--patch", testdata(t, "bad.patch")}, nil,
			[]string{"bad.patch does not apply to " + source, "file init/main.c:", "Hunk #1 FAILED at 1000"}},
		{"source with another hash", []string{"hook-vm-amd64", "--source", source, "--source-sha256", strings.Repeat("0", 64)}, nil,
			[]string{"SHA-256", strings.Repeat("0", 64)}},
		{"source of another kernel", []string{"hook-default-amd64", "--source", source}, nil, []string{"is Linux 6.12.", "5.10"}},
		{"flavor with Debian's kernel", []string{"hook-debian-amd64"}, nil, []string{"is not compiled", "linux-image-amd64", "hooksmith list"}},
		{"no Docker", []string{"hook-vm-amd64", "--source", source}, []string{"DOCKER_HOST=unix://" + dir + "/none.sock"}, []string{"no Docker daemon answers", "systemctl start docker"}},
		{"no folder for --export", []string{"hook-vm-amd64", "--source", source, "--export", dir + "/none/kernel.tar"}, nil, []string{"--export", "no folder " + dir + "/none"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := l.command(t, l.kernelArgs(tt.args...)...)
			cmd.Env = append(cmd.Env, tt.env...)
			r := l.run(t, cmd)
			if r.code != 1 {
				t.Errorf("exit code %d: %s", r.code, r.stderr)
			}
			wantParts(t, r.stderr, tt.want...)
			if found := l.leftovers(t, cmd); len(found) > 0 {
				t.Errorf("left behind: %q", found)
			}
		})
	}
}

// TestNoSpace: a daemon on a small disk. What is needed is said before the
// compilers are installed.
func TestNoSpace(t *testing.T) {
	l := needLab(t)
	if os.Getuid() != 0 {
		t.Skip("a small disk is mounted by root")
	}
	l.turn(t)
	disk := t.TempDir()
	if err := syscall.Mount("hooksmith", disk, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	d, err := dockertest.Start(filepath.Join(disk, "docker"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	cmd := l.command(t, l.kernelArgs("hook-vm-amd64", "--source", l.trimmed)...)
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+d.Socket)
	r := l.run(t, cmd)
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	wantParts(t, r.stderr, "not enough disk for the compilers", "1.6 GB are needed", filepath.Join(disk, "docker", "data"), "hint: docker system df")
}
