package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Appear waits until there is a file at path and makes its folder for that. Hook's convention: a workflow that wants a
// reboot creates /worker/reboot, which is /run/worker/reboot on the host.
func Appear(ctx context.Context, path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watching %s: %w", dir, err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR|unix.IN_DELETE_SELF); err != nil {
		return fmt.Errorf("watching %s: %w", dir, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, 4096)
	for {
		// Looked at after the watch is set, and after each event whatever it says.
		if _, err := os.Lstat(path); err == nil {
			return nil
		}
		if _, err := os.Lstat(dir); err != nil {
			return fmt.Errorf("watching for %s: %w", path, err)
		}
		if _, err := events.Read(buffer); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("watching %s: %w", dir, err)
			}
		}
	}
}
