package initd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mountPoint is a file system of the running system.
type mountPoint struct {
	target, kind string
	flags        uintptr
	data         string
	perm         os.FileMode
}

// mountPoints are in the order in which they are mounted. /sys/kernel/security stays unmounted: programs that find it
// expect AppArmor's tools.
var mountPoints = []mountPoint{
	{"/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", 0o555},
	{"/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", 0o555},
	{"/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755", 0o755},
	// Docker's data lies below /run but not in this file system, see prepareImages.
	{"/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755,size=20%", 0o755},
	{"/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666", 0o755},
	{"/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777,size=50%", 0o755},
	{"/dev/mqueue", "mqueue", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", 0o755},
	{"/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "nsdelegate,memory_recursiveprot", 0o555},
}

// controllers are what containers may want to limit.
var controllers = []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}

// mountAll mounts what is not mounted yet. It does as much as it can.
func mountAll() error {
	var errs []error
	for _, m := range mountPoints {
		errs = append(errs, m.mount())
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, filepath.Join("/dev", name)); err != nil && !errors.Is(err, os.ErrExist) {
			errs = append(errs, err)
		}
	}
	for _, c := range controllers {
		// A kernel without this controller has nothing to enable.
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+"+c), 0)
	}
	return errors.Join(errs...)
}

func (m mountPoint) mount() error {
	if mounted(m.target) {
		return nil
	}
	if err := os.MkdirAll(m.target, m.perm); err != nil {
		return fmt.Errorf("mounting %s: %w", m.target, err)
	}
	err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.data)
	if errors.Is(err, unix.EINVAL) && m.data != "" { // an option that this kernel does not know
		err = unix.Mount(m.kind, m.target, m.kind, m.flags, "")
	}
	if err != nil {
		return fmt.Errorf("mounting %s: %w", m.target, err)
	}
	return nil
}

// mounted says whether something is mounted at a folder: then its device is another than its parent's.
func mounted(target string) bool {
	var at, above unix.Stat_t
	return unix.Stat(target, &at) == nil && unix.Stat(filepath.Dir(target), &above) == nil && at.Dev != above.Dev
}
