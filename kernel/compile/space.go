package compile

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hooksmith/build/docker"
)

const (
	// sourceSpace is what a kernel's source takes, unpacked and with the
	// answers of its configuration.
	sourceSpace = 2200 << 20
	// objectSpace is what an object takes until the end, its share of archives,
	// modules and the result included: measured, and a half more.
	objectSpace = 400 << 10
)

// localSpace makes sure that the daemon's data folder has room, if it is on
// this machine. Where it is not, the container will tell.
func (b *Builder) localSpace(ctx context.Context, d *docker.Daemon, need int64, what string) error {
	if !d.Host().Local() {
		return nil
	}
	info, err := d.Info(ctx)
	if err != nil {
		return d.Explain(err)
	}
	var fs unix.Statfs_t
	if unix.Statfs(info.DockerRootDir, &fs) != nil {
		return nil // in a virtual machine, or not ours to see
	}
	return enough(int64(fs.Bavail)*int64(fs.Bsize), need, what, info.DockerRootDir)
}

// needSpace makes sure that the container has room.
func (w *Workspace) needSpace(ctx context.Context, need int64, what string) error {
	free, err := w.freeSpace(ctx)
	if err != nil {
		return err
	}
	info, err := w.daemon.Info(ctx)
	if err != nil {
		return w.daemon.Explain(err)
	}
	return enough(free, need, what, info.DockerRootDir)
}

// freeSpace is what df says of the container's disk, in bytes.
func (w *Workspace) freeSpace(ctx context.Context) (int64, error) {
	out, err := w.output(ctx, "free")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(out, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("df in the container printed %q", out)
	}
	return n << 10, nil
}

func enough(free, need int64, what, where string) error {
	if free >= need {
		return nil
	}
	return hintf(fmt.Errorf("not enough disk for %s: about %s are needed in Docker's data folder %s, and %s are free", what, gigabytes(need), where, gigabytes(free)),
		"docker system df shows what uses it, docker system prune removes what nobody does; or give Docker a larger disk (data-root in daemon.json)")
}

func gigabytes(n int64) string { return fmt.Sprintf("%.1f GB", float64(max(n, 0))/1e9) }

// isNoSpace reports whether an error is that of a full disk, of the daemon's or
// of a command's.
func isNoSpace(err error) bool { return err != nil && saysNoSpace(err.Error()) }

func saysNoSpace(text string) bool {
	return strings.Contains(strings.ToLower(text), "no space left on device")
}

// noSpace explains a disk that got full; need is what the step needs, 0: nobody
// knows.
func noSpace(err error, what string, need int64) error {
	if need > 0 {
		what += " may need " + gigabytes(need)
	}
	return hintf(fmt.Errorf("the disk of Docker's data folder is full: %s: %w", what, err),
		"docker system df shows what uses it, docker system prune removes what nobody does")
}
