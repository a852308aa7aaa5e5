package kerneltest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/docker/docker/api/types/volume"

	"hooksmith/build/docker"
	"hooksmith/kernel/compile"
)

// maxKept bounds what is kept of ccache; the small kernel takes about 50 MB.
const maxKept = 1 << 30

// keepCache gives ccache's volume what earlier runs on this machine compiled,
// and keeps what this run compiles, as the go command keeps what it builds. A
// file is found in it only by all that its object depends on.
// HOOKSMITH_KERNEL_COLD=1 compiles everything anew.
func (l *lab) keepCache(ctx context.Context) error {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil
	}
	kept := filepath.Join(dir, "hooksmith-test", "ccache")
	d, err := (docker.Config{Host: "unix://" + l.socket}).Connect(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	v, err := d.VolumeCreate(ctx, volume.CreateOptions{Name: compile.CacheVolume})
	if err != nil {
		return err
	}
	if _, err := os.Stat(kept); err == nil && os.Getenv("HOOKSMITH_KERNEL_COLD") == "" {
		if err := copyTree(kept, v.Mountpoint); err != nil {
			return err
		}
	}
	l.cleanup = append(l.cleanup, func() {
		if err := replaceKept(v.Mountpoint, kept); err != nil {
			log.Print("ccache's cache is not kept for the next run: ", err)
		}
	})
	return nil
}

// replaceKept copies ccache's files, without those that tell how many objects a
// kernel has: tests want them estimated.
func replaceKept(from, kept string) error {
	var size int64
	err := filepath.WalkDir(from, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		size += info.Size()
		return err
	})
	if err != nil || size > maxKept {
		return errors.Join(err, os.RemoveAll(kept))
	}
	fresh := fmt.Sprintf("%s.%d", kept, os.Getpid())
	defer os.RemoveAll(fresh)
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return err
	}
	if err := copyTree(from, fresh); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(fresh, "hooksmith")), os.RemoveAll(kept), os.Rename(fresh, kept))
}

func copyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("copying %s: %w: %s", from, err, out)
	}
	return nil
}
