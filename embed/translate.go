package embed

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// Names that the OCI image specification (layer.md, "Whiteouts") reserves.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh." // AUFS's own files
)

// xattrPrefix begins the PAX records of extended attributes.
const xattrPrefix = "SCHILY.xattr."

// opaqueXattr makes overlayfs hide what lower layers have in a directory.
const opaqueXattr = "trusted.overlay.opaque"

// Bounds of a layer. A large image has three hundred thousand files.
const (
	maxEntries  = 2 << 20
	maxNames    = 256 << 20 // bytes of all names together
	maxPath     = 4095
	maxLinks    = 40
	maxFileSize = 1<<32 - 1 // of a file in an initramfs
	maxID       = 1<<32 - 1
	maxScan     = 200 << 20 // names looked at because a directory was replaced
)

// translator turns an image layer into what overlayfs wants to see: the files
// as they are, whiteouts as devices 0:0, opaque directories by attribute.
//
// What the layer says stays right in every order of its entries: whiteouts are
// about the layers below, so they are written last, where the layer itself has
// nothing of that name; a directory that the layer both hides and has is
// opaque. Two things that a layer may leave to those below it are taken from
// there (view.go): owner and mode of a directory that it only names in paths,
// which would else hide the real ones, and the content of a hard link's target.
type translator struct {
	w      *output
	prefix string // diff/ of the layer
	below  *Layer
	lower  *view // made when it is needed

	items     map[string]item // by clean path; "." is the root
	whiteouts map[string]*tar.Header
	opaque    map[string]bool
	entries   int
	names     int
	scanned   int
}

// item is what the layer has at a path.
type item struct {
	dir    *tar.Header // of a directory; nil with isDir: only implied
	isDir  bool
	copied bool   // of a lower layer, because a hard link needs it
	target string // of a symbolic link
	size   *int64 // of content or target; hard links share it
	kids   int    // of a directory: ever put into it
}

func newTranslator(w *output, prefix string, below *Layer) *translator {
	return &translator{
		w: w, prefix: prefix, below: below,
		items:     map[string]item{".": {isDir: true}},
		whiteouts: map[string]*tar.Header{}, opaque: map[string]bool{},
	}
}

// run translates a tar.
func (t *translator) run(rec *recorder) error {
	tr := tar.NewReader(rec)
	for last := ""; ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			return t.finish()
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // ours to judge
			return fmt.Errorf("the tar is damaged after entry %q: %w", last, err)
		}
		last = hdr.Name
		err = rec.entry(hdr, func() error {
			if err := t.entry(hdr, tr); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, tr) // what nobody wanted
			return err
		})
		if err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
	}
}

// entry translates one entry of the tar.
func (t *translator) entry(hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader { // of git archive: a comment
		return nil
	}
	t.entries++
	t.names += len(hdr.Name)
	if t.entries > maxEntries || t.names > maxNames {
		return fmt.Errorf("the layer has more than %d entries or %d bytes of names", maxEntries, maxNames)
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	kind, name, err := classify(name)
	if err != nil || kind == isSkipped {
		return err
	}
	if kind == isOpaque {
		real, err := t.enter(name)
		t.opaque[real] = true
		return err
	}
	if name == "." {
		return t.putRoot(hdr)
	}
	parent, err := t.enter(path.Dir(name))
	if err != nil {
		return err
	}
	name = path.Join(parent, path.Base(name))
	switch {
	case kind == isWhiteout:
		t.whiteouts[name] = hdr
		t.addKid(parent)
		return nil
	case hdr.Typeflag == tar.TypeLink:
		return t.putLink(name, hdr)
	}
	return t.putNode(name, hdr, content)
}

func (t *translator) putRoot(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return errors.New("the root is not a directory")
	}
	out, err := t.header(".", hdr)
	if err != nil {
		return err
	}
	t.items["."] = item{isDir: true, dir: out, kids: t.items["."].kids}
	return t.w.WriteHeader(out)
}

// putNode writes anything but a hard link.
func (t *translator) putNode(name string, hdr *tar.Header, content io.Reader) error {
	out, err := t.header(name, hdr)
	if err != nil {
		return err
	}
	it := item{isDir: out.Typeflag == tar.TypeDir}
	switch out.Typeflag {
	case tar.TypeDir:
		it.dir = out
	case tar.TypeSymlink:
		it.target = out.Linkname
		it.size = new(int64(len(out.Linkname)))
	case tar.TypeReg:
		it.size = new(out.Size)
	}
	if err := t.put(name, it); err != nil {
		return err
	}
	if err := t.w.WriteHeader(out); err != nil {
		return err
	}
	if out.Typeflag != tar.TypeReg {
		return nil
	}
	return t.w.copy(content)
}

// putLink writes another name of a file.
func (t *translator) putLink(name string, hdr *tar.Header) error {
	target, err := cleanName(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	parent, err := t.enter(path.Dir(target))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
	}
	target = path.Join(parent, path.Base(target))
	it, known := t.items[target]
	if !known {
		if it, err = t.copyUp(target); err != nil {
			return fmt.Errorf("hard link to %q: %w", hdr.Linkname, err)
		}
	}
	if it.isDir {
		return fmt.Errorf("hard link to %q, which is a directory", hdr.Linkname)
	}
	if name == target {
		return nil
	}
	it.copied = false
	if err := t.put(name, it); err != nil {
		return err
	}
	return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: path.Join(t.prefix, name), Linkname: path.Join(t.prefix, target), ModTime: storeTime})
}

// copyUp brings a file of a lower layer into this one, as overlayfs does when
// a container makes a hard link to it.
func (t *translator) copyUp(name string) (item, error) {
	n, err := t.find(name)
	if err != nil {
		return item{}, err
	}
	if !n.isFile() {
		return item{}, errors.New("there is no such file in the layer before it, nor below")
	}
	err = n.open(func(r io.Reader) error { return t.putNode(name, n.hdr, r) })
	it := t.items[name]
	it.copied = true
	t.items[name] = it
	return it, err
}

// put notes that the layer has something at a resolved path. As when a tar is
// unpacked, a directory over a directory keeps what is in it; else what was
// there goes.
func (t *translator) put(name string, it item) error {
	old, known := t.items[name]
	switch {
	case known && old.isDir && it.isDir:
		it.kids = old.kids
	case known && old.isDir && old.kids > 0:
		if t.scanned += len(t.items) + len(t.whiteouts); t.scanned > maxScan {
			return errors.New("the layer replaces its own directories too often")
		}
		below := func(p string) bool { return strings.HasPrefix(p, name+"/") }
		maps.DeleteFunc(t.items, func(p string, _ item) bool { return below(p) })
		maps.DeleteFunc(t.whiteouts, func(p string, _ *tar.Header) bool { return below(p) })
		maps.DeleteFunc(t.opaque, func(p string, _ bool) bool { return below(p) || p == name })
	case known:
		delete(t.opaque, name)
	}
	t.items[name] = it
	if !known {
		t.addKid(path.Dir(name))
	}
	return nil
}

// size is what docker shows: of all files and symbolic links that the layer has
// in the end, those with several names once.
func (t *translator) size() (sum int64) {
	counted := map[*int64]bool{}
	for _, it := range t.items {
		if it.size != nil && !counted[it.size] {
			counted[it.size] = true
			sum += *it.size
		}
	}
	return sum
}

func (t *translator) addKid(dir string) {
	it := t.items[dir]
	it.kids++
	t.items[dir] = it
}

// enter returns the directory that a path leads to, through symbolic links of
// this layer, and makes what is missing: nothing is ever written through a
// link. (Docker unpacks a layer by itself, so links of lower layers do not
// count: there the directory hides the link.)
func (t *translator) enter(dir string) (string, error) {
	if t.items[dir].isDir {
		return dir, nil
	}
	at, rest, hops := ".", strings.Split(dir, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		it, known := t.items[next]
		switch {
		case !known:
			if t.names += len(next); len(next) > maxPath || t.names > maxNames {
				return "", errors.New("its path is too long")
			}
			if err := t.put(next, item{isDir: true}); err != nil {
				return "", err
			}
			at = next
		case it.isDir:
			at = next
		case it.target == "":
			return "", fmt.Errorf("it is below %q, which is no directory", next)
		default:
			if hops++; hops > maxLinks {
				return "", fmt.Errorf("its path leads through more than %d symbolic links", maxLinks)
			}
			if strings.HasPrefix(it.target, "/") {
				at = "."
			}
			rest = append(strings.Split(it.target, "/"), rest...)
		}
	}
	return at, nil
}

// finish writes what is known only when all entries are: whiteouts, implied
// and opaque directories.
func (t *translator) finish() error {
	if err := t.hideRoot(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.whiteouts)) {
		it, known := t.items[name]
		switch {
		case known && it.isDir:
			t.opaque[name] = true
		case !known || it.copied:
			if err := t.writeWhiteout(name, t.whiteouts[name]); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.items)) {
		it := t.items[name]
		if !it.isDir || name == "." || it.dir != nil && !t.opaque[name] {
			continue
		}
		if err := t.writeDir(name, it); err != nil {
			return fmt.Errorf("directory %q: %w", name, err)
		}
	}
	return nil
}

// hideRoot makes whiteouts of an opaque root, which overlayfs does not know.
func (t *translator) hideRoot() error {
	if !t.opaque["."] {
		return nil
	}
	delete(t.opaque, ".")
	root, err := t.find(".")
	if err != nil || root == nil {
		return err
	}
	for name := range root.kids {
		if t.whiteouts[name] == nil {
			t.whiteouts[name] = &tar.Header{ModTime: storeTime}
		}
	}
	return nil
}

func (t *translator) writeWhiteout(name string, hdr *tar.Header) error {
	if min(hdr.Uid, hdr.Gid) < 0 || max(hdr.Uid, hdr.Gid) > maxID {
		return fmt.Errorf("whiteout %q: owner %d:%d does not fit into 32 bits", name, hdr.Uid, hdr.Gid)
	}
	return t.w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeChar, Name: path.Join(t.prefix, name), Uid: hdr.Uid, Gid: hdr.Gid, ModTime: wholeSeconds(hdr.ModTime),
	})
}

// writeDir writes a directory that has no entry, or that needs the attribute
// besides.
func (t *translator) writeDir(name string, it item) error {
	out := it.dir
	if out == nil {
		lower, err := t.lowerDir(name)
		if err != nil {
			return err
		}
		if out, err = t.header(name, lower); err != nil {
			return err
		}
	}
	if t.opaque[name] {
		records := map[string]string{xattrPrefix + opaqueXattr: "y"}
		maps.Copy(records, out.PAXRecords)
		out.PAXRecords = records
	}
	return t.w.WriteHeader(out)
}

// lowerDir is the directory that an implied one must look like.
func (t *translator) lowerDir(name string) (*tar.Header, error) {
	implied := &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755, ModTime: storeTime}
	if t.opaque[name] {
		return implied, nil
	}
	n, err := t.find(name)
	if err != nil || n == nil || n.hdr == nil || n.hdr.Typeflag != tar.TypeDir {
		return implied, err
	}
	return n.hdr, nil
}

// find looks at the layers below; nil: they have no such file.
func (t *translator) find(name string) (*viewNode, error) {
	if t.below == nil {
		return nil, nil
	}
	if t.lower == nil {
		v, err := newView(t.below)
		if err != nil {
			return nil, fmt.Errorf("looking at the layers below: %w", err)
		}
		t.lower = v
	}
	return t.lower.find(name), nil
}
