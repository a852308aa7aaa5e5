package initd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// moveTree copies what is on the file system of from to the folder to, with owners, modes, times, hard links and devices,
// and removes each file when it has been copied: there is not room in memory for two of everything. Mount points become
// empty folders.
func moveTree(from, to string) error {
	m := mover{from: from, to: to, links: map[uint64]string{}}
	var root unix.Stat_t
	if err := unix.Lstat(from, &root); err != nil {
		return err
	}
	m.dev = root.Dev
	if err := filepath.WalkDir(from, m.visit); err != nil {
		return err
	}
	// Copying into a folder changes its time.
	for i := len(m.dirs) - 1; i >= 0; i-- {
		m.dirs[i].stamp()
	}
	return nil
}

type mover struct {
	from, to string
	dev      uint64
	links    map[uint64]string // first copy of a file with several names, by inode
	dirs     []stamped
}

type stamped struct {
	path string
	stat unix.Stat_t
}

func (m *mover) visit(path string, entry fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if path == m.to {
		return fs.SkipDir
	}
	rel, err := filepath.Rel(m.from, path)
	if err != nil {
		return err
	}
	s := stamped{path: filepath.Join(m.to, rel)}
	if err := unix.Lstat(path, &s.stat); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if entry.IsDir() {
		return m.dir(s)
	}
	if err := m.file(path, s); err != nil {
		return fmt.Errorf("copying %s: %w", path, err)
	}
	return os.Remove(path)
}

// dir makes a folder; below a mount point there is nothing of ours.
func (m *mover) dir(s stamped) error {
	if err := os.Mkdir(s.path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if s.stat.Dev != m.dev {
		s.stat.Mode = unix.S_IFDIR | 0o755
		s.own()
		return fs.SkipDir
	}
	s.own()
	m.dirs = append(m.dirs, s)
	return nil
}

func (m *mover) file(path string, s stamped) error {
	if first, ok := m.links[s.stat.Ino]; ok {
		return os.Link(first, s.path)
	}
	if s.stat.Nlink > 1 {
		m.links[s.stat.Ino] = s.path
	}
	switch s.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if err := copyFile(path, s.path); err != nil {
			return err
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, s.path); err != nil {
			return err
		}
	default:
		if err := unix.Mknod(s.path, s.stat.Mode, int(s.stat.Rdev)); err != nil {
			return err
		}
	}
	s.own()
	s.stamp()
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// own sets owner and mode, in this order: a change of owner takes the setuid bit away. As root neither fails.
func (s stamped) own() {
	_ = unix.Lchown(s.path, int(s.stat.Uid), int(s.stat.Gid))
	if s.stat.Mode&unix.S_IFMT != unix.S_IFLNK {
		_ = unix.Chmod(s.path, s.stat.Mode&0o7777)
	}
}

// stamp sets the time of the last change.
func (s stamped) stamp() {
	mtime := unix.NsecToTimespec(time.Unix(s.stat.Mtim.Unix()).UnixNano())
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, s.path, []unix.Timespec{mtime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}
