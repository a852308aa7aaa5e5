package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/proctest"
)

// namespaced runs the calling test again in new mount and network namespaces, as a subreaper. It says whether this is
// the inner run.
func namespaced(t *testing.T) bool {
	t.Helper()
	if !proctest.Inside(t, unix.CLONE_NEWNET) {
		return false
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	return true
}

func TestApply(t *testing.T) {
	if !namespaced(t) {
		return
	}
	dir := t.TempDir()
	steps := Runtime{Mounts: []Mount{
		{Destination: dir + "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m"}},
		{Destination: dir + "/tmp", Options: []string{"remount", "private"}},
		{Destination: dir + "/b", Source: dir + "/tmp", Options: []string{"bind", "ro"}},
	}, Mkdir: []string{dir + "/tmp/inner"}}.Plan()
	if err := Apply(steps); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/b/x", nil, 0o644); err == nil {
		t.Error("the read-only bind can be written")
	}
	if _, err := os.Stat(dir + "/b/inner"); err != nil {
		t.Error(err)
	}
	Undo(steps)
	if _, err := os.Stat(dir + "/tmp/inner"); err == nil {
		t.Error("still mounted after Undo")
	}

	failing := append(steps, Step{Source: "none", Target: dir + "/b", Type: "nosuchfs"})
	if err := Apply(failing); err == nil || !strings.Contains(err.Error(), "mount -t nosuchfs") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir + "/tmp/inner"); err == nil {
		t.Error("a failed Apply left its mounts")
	}
}

// testBundle makes a container that runs script in busybox, as LinuxKit lays it out.
func TestPlanVolume(t *testing.T) {
	if !namespaced(t) {
		return
	}
	dir := t.TempDir()
	if err := Apply([]Step{{Source: "tmpfs", Target: dir, Type: "tmpfs"}}); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	for _, v := range []struct {
		name  string
		write error
	}{{"writable", nil}, {"readonly", unix.EROFS}} {
		at := filepath.Join(dir, v.name)
		if err := errors.Join(os.MkdirAll(at+"/lower", 0o755), os.WriteFile(at+"/lower/f", []byte(v.name), 0o644)); err != nil {
			t.Fatal(err)
		}
		if v.write == nil {
			if err := os.Mkdir(at+"/tmp", 0o755); err != nil {
				t.Fatal(err)
			}
		}
		steps := PlanVolume(at)
		if err := Apply(steps); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(at + "/merged/f"); err != nil || string(got) != v.name {
			t.Errorf("%s: %q, %v", v.name, got, err)
		}
		if err := os.WriteFile(at+"/merged/f", nil, 0o644); !errors.Is(err, v.write) {
			t.Errorf("%s: writing: %v, want %v", v.name, err, v.write)
		}
		if got, err := os.ReadFile(at + "/lower/f"); err != nil || string(got) != v.name {
			t.Errorf("%s: the image's file is now %q, %v", v.name, got, err)
		}
		Undo(steps)
	}
}

func testBundle(t *testing.T, script string, runtime string) Bundle {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox here")
	}
	dir := filepath.Join(t.TempDir(), "demo")
	for _, sub := range []string{"lower/bin", "lower/proc", "lower/dev", "tmp", "rootfs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/lower/bin/sh", program, 0o755); err != nil {
		t.Fatal(err)
	}
	// The namespaces of the machine except mount and network: a new pid namespace needs cgroups that a build machine
	// may not give.
	config := fmt.Sprintf(`{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"args":["/bin/sh","-c",%q],"env":["PATH=/bin"],"cwd":"/"},
		"root":{"path":"rootfs"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
		"linux":{"namespaces":[{"type":"mount"},{"type":"network"},{"type":"pid"}]}}`, script)
	mounts := fmt.Sprintf(`{"destination":"%[1]s/tmp","type":"tmpfs","source":"tmpfs"},{"destination":"%[1]s/tmp","options":["remount","private"]},
		{"destination":"%[1]s/rootfs","type":"overlay","source":"overlay","options":["lowerdir=%[1]s/lower","upperdir=%[1]s/tmp/upper","workdir=%[1]s/tmp/work"]}`, dir)
	for name, text := range map[string]string{"config.json": config, "runtime.json": `{"mounts":[` + mounts + `]` + runtime + `}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	steps := b.Runtime.Plan()
	if err := Apply(steps); err != nil {
		t.Skipf("no overlay here: %v", err)
	}
	t.Cleanup(func() { Undo(steps) })
	return b
}

func testRunc(t *testing.T) Runc {
	t.Helper()
	bin, err := Find()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	return Runc{Bin: bin, Root: filepath.Join(dir, "runc"), State: dir}
}

// run starts a container, waits for it and returns its exit status and output.
func run(t *testing.T, r Runc, b Bundle) (unix.WaitStatus, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := r.Start(ctx, b.Name, b, writer)
	writer.Close()
	if err != nil {
		if text := err.Error(); strings.Contains(text, "cgroup") || strings.Contains(text, "operation not permitted") {
			t.Skipf("this machine does not let runc make containers: %v", err)
		}
		t.Fatal(err)
	}
	out, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(ctx, b.Name); err != nil {
		t.Error(err)
	}
	return status, string(out)
}

func TestRunc(t *testing.T) {
	if !namespaced(t) {
		return
	}
	r := testRunc(t)
	b := testBundle(t, "echo out; echo error >&2; echo x > /written; exit 3", "")
	for range 2 {
		status, out := run(t, r, b)
		if status.ExitStatus() != 3 || out != "out\nerror\n" {
			t.Errorf("exit status %d, output %q", status.ExitStatus(), out)
		}
	}
	if _, err := os.Stat(b.Dir + "/tmp/upper/written"); err != nil {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), b.Name); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}

func TestRuncBetween(t *testing.T) {
	if !namespaced(t) {
		return
	}
	r := testRunc(t)
	keep := t.TempDir() + "/ns/net"
	b := testBundle(t, "grep -c eth7 /proc/net/dev; grep -c moved0 /proc/net/dev", fmt.Sprintf(
		`,"bindNS":{"net":%q},"interfaces":[{"name":"eth7","peer":"outside7"},{"name":"moved0","add":"veth","peer":"outside0","createInRoot":true}]`, keep))
	status, out := run(t, r, b)
	if status.ExitStatus() != 0 || out != "1\n1\n" {
		t.Errorf("exit status %v, output %q", status, out)
	}
	var kept unix.Stat_t
	if err := unix.Stat(keep, &kept); err != nil {
		t.Fatal(err)
	}
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &own); err != nil {
		t.Fatal(err)
	}
	if kept.Dev != own.Dev || kept.Ino == own.Ino {
		t.Errorf("%s is not the container's network namespace", keep)
	}
	if err := unix.Unmount(keep, 0); err != nil {
		t.Error(err)
	}
}

func TestRuncErrors(t *testing.T) {
	if !namespaced(t) {
		return
	}
	r := testRunc(t)
	b := testBundle(t, "true", "")
	text, err := os.ReadFile(b.Dir + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.Dir+"/config.json", bytes.Replace(text, []byte("/bin/sh"), []byte("/bin/missing"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := r.Start(t.Context(), b.Name, b, null); err == nil || !strings.Contains(err.Error(), "/bin/missing") && !strings.Contains(err.Error(), "cgroup") {
		t.Errorf("error %v, want one that names the program", err)
	}
	b.Runtime.Interfaces = []Interface{{Name: "nosuch0"}}
	if err := os.WriteFile(b.Dir+"/config.json", text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), b.Name, b, null); err == nil || !strings.Contains(err.Error(), `interface "nosuch0"`) {
		t.Errorf("error %v, want one that names the interface", err)
	}
	if _, err := os.Stat(filepath.Join(r.Root, b.Name)); err == nil {
		t.Error("the container that could not be prepared is still there")
	}
}

func TestExecArgs(t *testing.T) {
	r := Runc{Bin: "/usr/sbin/runc", Root: "/run/runc"}
	if got := strings.Join(r.ExecArgs("x", true, []string{"sh", "-l"}), " "); got != "/usr/sbin/runc --root /run/runc exec --tty x sh -l" {
		t.Error(got)
	}
}
