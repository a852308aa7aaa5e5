package rootof

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"hooksmith/build/initramfs"
	"hooksmith/build/rootfs"
	"hooksmith/publish/inspect"
)

// fromSet opens the initramfs of an output folder, or one that stands alone.
func (r *Root) fromSet(ctx context.Context, ref string, choice inspect.Choice) error {
	set, err := inspect.Open(ctx, ref, choice)
	if err != nil {
		return err
	}
	defer set.Close()
	if set.Initramfs == nil {
		return fmt.Errorf("%s is a kernel: its modules are in the initramfs, give that", ref)
	}
	f, err := r.temp()
	if err != nil {
		return err
	}
	s := &spooler{out: tar.NewWriter(f), files: map[inode]string{}}
	if err := inspect.Walk(ctx, set.Initramfs, s.take); err != nil {
		return err
	}
	if err := s.finish(); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	layer, err := rootfs.Index(f, size)
	if err != nil {
		return fmt.Errorf("%s: %w", set.Initramfs.Name, err)
	}
	tree, err := rootfs.Flatten(layer)
	if err != nil {
		return fmt.Errorf("%s: %w", set.Initramfs.Name, err)
	}
	r.FS = tree.FS()
	return nil
}

// spooler writes the records of an initramfs that matter into a tar.
type spooler struct {
	out   *tar.Writer
	files map[inode]string // where the content of a hard link stands
	links []link
}

type inode struct {
	offset int64 // of the segment
	ino    uint32
}

type link struct {
	inode
	name string
}

const (
	modeType = 0o170000
	modeFile = 0o100000
	modeDir  = 0o040000
	modeLink = 0o120000
)

var wantedDirs = []string{"lib/modules/", "lib/firmware/", "lib/modprobe.d/", "etc/modprobe.d/"}

// wanted reports whether a file is looked at: modules, lists, firmware (by its
// name only), modprobe's configuration. A module may be a hard link of one
// that is elsewhere.
func wanted(name string) bool {
	name = strings.TrimPrefix(name, "usr/")
	below := func(dir string) bool { return strings.HasPrefix(name, dir) }
	return slices.ContainsFunc(wantedDirs, below) || strings.Contains(path.Base(name), ".ko")
}

func (s *spooler) take(e initramfs.Entry, content io.Reader) error {
	name := cleanName(e.Name)
	h := &tar.Header{Name: name, Mode: 0o755, Format: tar.FormatPAX}
	switch e.Mode & modeType {
	case modeLink:
		// Any folder on the way may be a link: lib, or lib/modules itself.
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
		if top := strings.TrimPrefix(name, "usr/"); !wanted(name) && top != "lib" && top != "lib/modules" && top != "lib/firmware" && top != "etc" {
			return nil
		}
		return s.out.WriteHeader(h)
	case modeFile:
		if !wanted(name) {
			return nil
		}
		return s.file(h, e, content)
	case modeDir:
		if wanted(name + "/") {
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
			return s.out.WriteHeader(h)
		}
	}
	return nil
}

func (s *spooler) file(h *tar.Header, e initramfs.Entry, content io.Reader) error {
	id := inode{e.Offset, e.Ino}
	if e.Links > 1 && e.Size == 0 {
		s.links = append(s.links, link{id, h.Name})
		return nil
	}
	if e.Links > 1 {
		s.files[id] = h.Name
	}
	h.Typeflag = tar.TypeReg
	if strings.HasPrefix(strings.TrimPrefix(h.Name, "usr/"), "lib/firmware/") {
		return s.out.WriteHeader(h) // empty: that it is there is all that counts
	}
	h.Size = e.Size
	if err := s.out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(s.out, content)
	return err
}

// finish writes the names that share a content, and files that have none.
func (s *spooler) finish() error {
	var errs []error
	for _, l := range s.links {
		h := &tar.Header{Name: l.name, Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if to, ok := s.files[l.inode]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, to
		}
		errs = append(errs, s.out.WriteHeader(h))
	}
	return errors.Join(append(errs, s.out.Close())...)
}
