package compile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// folderPrefix begins the names of our temporary folders.
const folderPrefix = "hooksmith-kernel-"

// Leftovers are the temporary folders in dir that Builders of killed processes
// left: their makers held locks on them, which end with a process.
func Leftovers(dir string) []string {
	var left []string
	_ = eachLeftover(dir, func(path string) error {
		left = append(left, path)
		return nil
	})
	return left
}

// Sweep removes Leftovers, and returns those that it removed.
func Sweep(dir string) (removed []string, err error) {
	err = eachLeftover(dir, func(path string) error {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		removed = append(removed, path)
		return nil
	})
	return removed, err
}

// eachLeftover visits leftovers while it holds them, in the place of those who
// are no more.
func eachLeftover(dir string, visit func(path string) error) error {
	if dir == "" {
		dir = os.TempDir()
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), folderPrefix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		held, err := hold(path)
		if err != nil {
			continue // of a living process, or of another user
		}
		errs = append(errs, visit(path), held.Close())
	}
	return errors.Join(errs...)
}

// hold locks a folder, until it is closed or this process ends.
func hold(path string) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}

// makeFolder makes a temporary folder that this process holds. Where folders
// cannot be locked it is not held, and nobody's is a leftover.
func makeFolder(dir string) (path string, remove func() error, err error) {
	for {
		if path, err = os.MkdirTemp(dir, folderPrefix); err != nil {
			return "", nil, err
		}
		held, err := hold(path)
		remove := func() error {
			defer held.Close()
			return os.RemoveAll(path)
		}
		_, stat := os.Stat(path)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK), errors.Is(stat, fs.ErrNotExist): // it was swept before it was held
			_ = remove()
		case err == nil, errors.Is(err, errors.ErrUnsupported), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EBADF):
			return path, remove, nil
		default:
			return "", nil, errors.Join(err, remove())
		}
	}
}
