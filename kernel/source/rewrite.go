package source

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// epoch is the time of all members: a folder's times say nothing of its
// content, and make wants no more of sources than that they are older than
// what it builds.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// rewriter writes a tar whose members are all below one folder, with plain
// modes and owners, and refuses what no source has.
type rewriter struct {
	w       *tar.Writer
	top     string
	kinds   map[string]byte // what every path is
	entries int
}

func newRewriter(w io.Writer, top string) (*rewriter, error) {
	rw := &rewriter{w: tar.NewWriter(w), top: top, kinds: map[string]byte{}}
	return rw, rw.add(".", &tar.Header{Typeflag: tar.TypeDir}, nil)
}

// relative is the name of a member below its archive's top folder, "." for
// that itself. strip is the top folder, "." if there is none.
func relative(name, strip string) (string, error) {
	switch {
	case len(name) > maxName:
		return "", fmt.Errorf("member %.60q...: its name is longer than %d bytes", name, maxName)
	case strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0):
		return "", fmt.Errorf("member %.200q: it leaves the archive", name)
	}
	for _, element := range strings.Split(name, "/") {
		if element == ".." {
			return "", fmt.Errorf("member %.200q: it leaves the archive", name)
		}
	}
	clean := path.Clean(name)
	if strip == "." || clean == "." {
		return clean, nil
	}
	if clean == strip {
		return ".", nil
	}
	rest, ok := strings.CutPrefix(clean, strip+"/")
	if !ok {
		return "", fmt.Errorf("member %.200q stands beside %q: want one folder with everything in it (tar -C FOLDER -c . makes such a tar)", name, strip)
	}
	return rest, nil
}

// topOf is the folder that the first member of an archive is, or is in; "."
// for an archive that was made inside of the folder.
func topOf(h *tar.Header) string {
	clean := path.Clean(h.Name)
	first, _, nested := strings.Cut(clean, "/")
	if strings.HasPrefix(h.Name, "./") || clean == "." || (!nested && h.Typeflag != tar.TypeDir) {
		return "."
	}
	return first
}

// add writes one member. name is relative; h gives type, mode, size and the
// target of a link, which for a hard link is relative too.
func (rw *rewriter) add(name string, h *tar.Header, content io.Reader) error {
	if rw.entries++; rw.entries > maxEntries {
		return fmt.Errorf("it has more than %d members", maxEntries)
	}
	out := &tar.Header{Typeflag: h.Typeflag, Name: path.Join(rw.top, name), ModTime: epoch, Mode: 0o644, Format: tar.FormatPAX}
	switch h.Typeflag {
	case tar.TypeDir:
		out.Name, out.Mode = out.Name+"/", 0o755
		if rw.kinds[name] == tar.TypeDir {
			return nil
		}
	case tar.TypeReg:
		if out.Size = h.Size; h.Mode&0o111 != 0 {
			out.Mode = 0o755
		}
	case tar.TypeSymlink:
		out.Linkname, out.Mode = h.Linkname, 0o777
	case tar.TypeLink:
		out.Linkname = path.Join(rw.top, h.Linkname)
	default:
		return fmt.Errorf("%.200s: no source has a member of type %q", name, h.Typeflag)
	}
	if err := rw.check(name, h); err != nil {
		return fmt.Errorf("%.200s: %w", name, err)
	}
	rw.kinds[name] = h.Typeflag
	if err := rw.w.WriteHeader(out); err != nil {
		return fmt.Errorf("%.200s: %w", name, err)
	}
	if out.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := io.Copy(rw.w, content)
	return err
}

// check refuses members that another one is in the way of, and links that
// lead out.
func (rw *rewriter) check(name string, h *tar.Header) error {
	if _, twice := rw.kinds[name]; twice {
		return errors.New("it is in the archive twice")
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if kind, ok := rw.kinds[dir]; ok && kind != tar.TypeDir {
			return fmt.Errorf("it is below %s, which is no folder", dir)
		}
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		target := path.Join(path.Dir(name), h.Linkname)
		if path.IsAbs(h.Linkname) || target == ".." || strings.HasPrefix(target, "../") {
			return fmt.Errorf("it is a link to %.200q, out of the source", h.Linkname)
		}
	case tar.TypeLink:
		if rw.kinds[h.Linkname] != tar.TypeReg {
			return fmt.Errorf("it is a hard link to %.200q, which is no file before it", h.Linkname)
		}
	}
	return nil
}

// close ends the tar.
func (rw *rewriter) close() error { return rw.w.Close() }
