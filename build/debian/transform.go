package debian

import (
	"archive/tar"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// transformVersion is part of every layer's identity. It must change with
// whatever changes the bytes that a given .deb is turned into.
const transformVersion = "1"

// trims are left out of every package: what nobody reads in a system without
// users and without dpkg. /etc/init.d matters most: LinuxKit's init runs every
// file in it.
var trims = globs{
	"etc/bash_completion.d/**", "etc/cron.*/**", "etc/init.d/**", "etc/logrotate.d/**", "etc/rc?.d/**",
	"usr/lib/*/gconv/**", "usr/lib/systemd/system/**", "usr/lib/systemd/user/**",
	"usr/share/bash-completion/**", "usr/share/bug/**", "usr/share/doc-base/**", "usr/share/doc/**",
	"usr/share/fish/**", "usr/share/info/**", "usr/share/initramfs-tools/**", "usr/share/lintian/**",
	"usr/share/locale/**", "usr/share/man/**", "usr/share/metainfo/**", "usr/share/pixmaps/**", "usr/share/zsh/**",
}

// copyrightFiles stay in a package's layer although its documentation goes:
// the licence belongs to the program, and the bill of materials reads it
// there. Images hide them in their top layer.
const copyrightFiles = "usr/share/doc/*/copyright"

// limits bound what a package may unpack to.
type limits struct {
	unpacked int64
	entries  int
}

var defaultLimits = limits{unpacked: 4 << 30, entries: 1 << 19}

// transform turns the entries of a package's data archive into those of a
// layer: clean names, merged /usr, numeric owners, without the trims.
type transform struct {
	in     *tar.Reader
	keep   globs
	limits limits
	seen   map[string]byte // type of each path that was passed on
	count  int
}

// next returns the next entry that stays; io.EOF after the last.
func (t *transform) next() (*tar.Header, io.Reader, error) {
	for {
		h, err := t.in.Next()
		if err != nil {
			return nil, nil, err
		}
		if t.count++; t.count > t.limits.entries {
			return nil, nil, fmt.Errorf("package has more than %d files", t.limits.entries)
		}
		out, err := t.entry(h)
		if err != nil {
			return nil, nil, err
		}
		if out != nil {
			return out, t.in, nil
		}
	}
}

// entry returns the layer's header for h, or nil if the entry is left out.
func (t *transform) entry(h *tar.Header) (*tar.Header, error) {
	old, err := cleanName(h.Name)
	if err != nil || old == "" {
		return nil, err
	}
	at := usrMerge(old)
	if t.trimmed(at) {
		return nil, nil
	}
	out := &tar.Header{
		Typeflag: h.Typeflag, Name: at, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid,
		ModTime: time.Unix(max(h.ModTime.Unix(), 0), 0).UTC(),
	}
	if h.Uid < 0 || h.Gid < 0 {
		return nil, fmt.Errorf("%s has owner %d:%d", at, h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		out.Size = h.Size
	case tar.TypeDir:
		out.Name += "/"
	case tar.TypeSymlink:
		target, self := mergeLink(old, h.Linkname)
		if self {
			return nil, nil
		}
		out.Linkname = target
		err = checkTarget(at, target)
	case tar.TypeLink:
		out.Linkname, err = t.linkTarget(at, h.Linkname)
	default:
		return nil, fmt.Errorf("%s is of type %q, which packages do not contain", at, h.Typeflag)
	}
	if err != nil {
		return nil, err
	}
	return t.place(at, out)
}

// trimmed reports whether a path is left out.
func (t *transform) trimmed(at string) bool {
	if !trims.match(at) || t.keep.match(at) {
		return false
	}
	isCopyright, _ := path.Match(copyrightFiles, at)
	return !isCopyright
}

// place notes the path. The same folder may come twice after merging /usr,
// nothing else may, and nothing may lie below anything but a folder.
func (t *transform) place(at string, out *tar.Header) (*tar.Header, error) {
	if kind, ok := t.seen[at]; ok {
		if kind == tar.TypeDir && out.Typeflag == tar.TypeDir {
			return nil, nil
		}
		return nil, fmt.Errorf("%s is in the package twice", at)
	}
	for dir := path.Dir(at); dir != "."; dir = path.Dir(dir) {
		kind, ok := t.seen[dir]
		if ok && kind != tar.TypeDir {
			return nil, fmt.Errorf("%s lies below %s, which is not a folder", at, dir)
		}
		if ok {
			break
		}
	}
	t.seen[at] = out.Typeflag
	return out, nil
}

func checkTarget(at, target string) error {
	if target == "" || len(target) > 4096 || strings.ContainsAny(target, "\x00\n") {
		return fmt.Errorf("symbolic link %s has a bad target %.80q", at, target)
	}
	return nil
}

// linkTarget returns the path that a hard link names. It must have come
// before, as a file: anything else could only be meant to reach elsewhere.
func (t *transform) linkTarget(at, name string) (string, error) {
	target, err := cleanName(name)
	if err != nil {
		return "", fmt.Errorf("hard link %s: %w", at, err)
	}
	target = usrMerge(target)
	if kind := t.seen[target]; kind != tar.TypeReg && kind != tar.TypeLink {
		return "", fmt.Errorf("hard link %s to %q, which is not a file of the package before it (or is trimmed: name it in keep)", at, target)
	}
	return target, nil
}
