package dockerd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPivotable(t *testing.T) {
	for _, test := range []struct {
		name, mountinfo string
		want            bool
	}{
		{"a disk", "26 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n27 26 0:5 / /dev rw - devtmpfs d rw\n", true},
		{"the rootfs of an initramfs", "1 1 0:2 / / rw - rootfs rootfs rw\n20 1 0:5 / /dev rw - devtmpfs d rw\n", false},
		{"moved onto it by init", "1 1 0:2 / / rw - rootfs rootfs rw\n40 1 0:2 / / rw - rootfs rootfs rw\n", true},
		{"a container", "615 608 0:48 / / rw,relatime - overlay overlay rw\n", true},
		{"nothing", "", true},
	} {
		if got := pivotable(strings.NewReader(test.mountinfo)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestNestCgroups runs on a real cgroup with a real process in it.
func TestNestCgroups(t *testing.T) {
	root := ""
	for _, each := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(each, "cgroup.controllers")); err == nil {
			root = each
		}
	}
	group := filepath.Join(root, fmt.Sprintf("hooksmith-test-%d", os.Getpid()))
	if root == "" || os.Mkdir(group, 0o755) != nil {
		t.Skip("needs root and cgroup2")
	}
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sleep.Process.Kill()
		sleep.Wait()
		os.Remove(filepath.Join(group, "init"))
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, sleep.Process.Pid), 0); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing left to do
		if err := nestCgroups(group); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(group, "init/cgroup.procs"))
	if err != nil || strings.TrimSpace(string(got)) != fmt.Sprint(sleep.Process.Pid) {
		t.Errorf("the inner cgroup has %q, %v, want %d", got, err, sleep.Process.Pid)
	}
	if err := nestCgroups(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no cgroup2 at") {
		t.Errorf("a folder that is no cgroup: %v", err)
	}
	// The real root has nothing to nest.
	if err := nestCgroups(root); err != nil {
		t.Error(err)
	}
}

func TestRunsAlready(t *testing.T) {
	p := paths{run: t.TempDir()}
	pidfile := filepath.Join(p.run, "docker.pid")
	for _, text := range []string{"", "x", "-1", "0", fmt.Sprint(os.Getpid()), "999999999"} {
		if err := os.WriteFile(pidfile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if pid := runsAlready(p); pid != 0 {
			t.Errorf("a pid file with %q: dockerd runs with pid %d", text, pid)
		}
	}
	if err := removeStale(p); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(pidfile); err == nil {
		t.Error("the stale pid file is still there")
	}
}
