package initd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	newRoot  = "/.newroot"
	rootSize = "size=80%"
)

// rootDone marks that the root has been made fit, for the second time that init runs after a copy.
const rootDone = "HOOKSMITH_ROOT=fit"

// fitRoot gives the root what containers need. The initial root has no mount above it, so pivot_root(2) refuses to work
// on it; mounted over itself it is an ordinary one, which costs neither time nor memory. A ramfs, which the kernel uses
// when there is a root= argument, knows no extended attributes and no limit, so it is copied to a tmpfs; then copied is
// true and init has to be run again, for its own file is gone.
func fitRoot() (copied bool, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return false, fmt.Errorf("looking at the root: %w", err)
	}
	switch fs.Type {
	case unix.TMPFS_MAGIC:
		// The kernel has unpacked with its limit of 50 %. Images and logs may have more.
		if err := unix.Mount("", "/", "", unix.MS_REMOUNT, rootSize); err != nil {
			return false, fmt.Errorf("raising the size of the root: %w", err)
		}
		err = overRoot(func() error { return unix.Mount("/", newRoot, "", unix.MS_BIND, "") })
	case unix.RAMFS_MAGIC:
		copied = true
		err = overRoot(func() error {
			if err := unix.Mount("tmpfs", newRoot, "tmpfs", 0, "mode=0755,"+rootSize); err != nil {
				return err
			}
			return moveTree("/", newRoot)
		})
	}
	if err != nil {
		return false, fmt.Errorf("making the root fit for containers: %w", err)
	}
	// Mounts that privileged containers make are to be seen by the host and by others.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return copied, fmt.Errorf("sharing mounts: %w", err)
	}
	return copied, nil
}

// overRoot mounts a new root by the function given, moves the mounts there and changes into it.
func overRoot(mount func() error) error {
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	if err := mount(); err != nil {
		return err
	}
	for _, target := range []string{"/dev", "/proc", "/sys", "/run"} {
		if !mounted(target) {
			continue
		}
		if err := os.MkdirAll(newRoot+target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(target, newRoot+target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s: %w", target, err)
		}
	}
	if err := unix.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	// Empty in a bind mount, absent in a copy.
	_ = os.Remove(newRoot)
	return nil
}
