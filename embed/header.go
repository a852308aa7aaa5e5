package embed

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// cleanName is a path of a tar without leading or trailing slash; "." is the
// root.
func cleanName(name string) (string, error) {
	switch {
	case len(name) > maxPath:
		return "", fmt.Errorf("its path has %d bytes; Linux takes %d", len(name), maxPath)
	case strings.IndexByte(name, 0) >= 0:
		return "", errors.New("its path contains a NUL byte")
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errors.New("its path leaves the root")
	}
	return clean, nil
}

// entryKind is what the name of an entry says.
type entryKind int

const (
	isNode     entryKind = iota
	isWhiteout           // the name is what it hides
	isOpaque             // the name is the directory
	isSkipped            // AUFS's own files, which mean nothing elsewhere
)

func classify(name string) (entryKind, string, error) {
	if !strings.Contains(name, whiteoutPrefix) {
		return isNode, name, nil
	}
	dir, base := path.Split(name)
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, whiteoutMeta) {
			return isSkipped, "", nil
		}
		if strings.HasPrefix(part, whiteoutPrefix) {
			return 0, "", fmt.Errorf("it is below %q, but names with %s are whiteouts and have nothing below them", part, whiteoutPrefix)
		}
	}
	dir = path.Clean("./" + dir)
	hidden, whiteout := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !whiteout:
		return isNode, name, nil
	case base == whiteoutOpaque:
		return isOpaque, dir, nil
	case strings.HasPrefix(base, whiteoutMeta):
		return isSkipped, "", nil
	case hidden == "" || hidden == "." || hidden == "..":
		return 0, "", errors.New("the whiteout hides no name")
	}
	return isWhiteout, path.Join(dir, hidden), nil
}

// kinds are the types that a layer may have, as they are written.
var kinds = map[byte]byte{
	tar.TypeReg: tar.TypeReg, 0: tar.TypeReg, tar.TypeCont: tar.TypeReg, tar.TypeGNUSparse: tar.TypeReg,
	tar.TypeDir: tar.TypeDir, tar.TypeSymlink: tar.TypeSymlink, tar.TypeFifo: tar.TypeFifo,
	tar.TypeChar: tar.TypeChar, tar.TypeBlock: tar.TypeBlock,
}

// header is that of an entry below the prefix: type, owner, mode, time in
// seconds and attributes; names of owners are left out, as docker goes by
// number.
func (t *translator) header(name string, hdr *tar.Header) (*tar.Header, error) {
	kind, ok := kinds[hdr.Typeflag]
	switch {
	case !ok:
		return nil, fmt.Errorf("it is of type %q, which docker does not know", hdr.Typeflag)
	case min(hdr.Uid, hdr.Gid) < 0 || max(hdr.Uid, hdr.Gid) > maxID:
		return nil, fmt.Errorf("owner %d:%d does not fit into 32 bits", hdr.Uid, hdr.Gid)
	case kind == tar.TypeReg && (hdr.Size < 0 || hdr.Size > maxFileSize):
		return nil, fmt.Errorf("it has %d bytes; a file in an initramfs is limited to 4 GiB", hdr.Size)
	case kind == tar.TypeSymlink && (hdr.Linkname == "" || len(hdr.Linkname) > maxPath):
		return nil, fmt.Errorf("its target has %d bytes; Linux takes 1 to %d", len(hdr.Linkname), maxPath)
	}
	out := &tar.Header{
		Typeflag: kind, Name: path.Join(t.prefix, name), Mode: hdr.Mode & 0o7777, Uid: hdr.Uid, Gid: hdr.Gid, ModTime: wholeSeconds(hdr.ModTime),
	}
	switch kind {
	case tar.TypeReg:
		out.Size = hdr.Size
	case tar.TypeDir:
		out.Name += "/"
	case tar.TypeSymlink:
		out.Linkname = hdr.Linkname
	case tar.TypeChar, tar.TypeBlock:
		out.Devmajor, out.Devminor = hdr.Devmajor, hdr.Devminor
	}
	for key, value := range hdr.PAXRecords {
		attribute, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		if strings.HasPrefix(attribute, "trusted.overlay.") {
			return nil, fmt.Errorf("it has the attribute %s, which is overlayfs's own: was the image made of the store of another docker?", attribute)
		}
		if out.PAXRecords == nil {
			out.PAXRecords = map[string]string{}
		}
		out.PAXRecords[key] = value
	}
	return out, nil
}

// wholeSeconds is all that an initramfs can say of a time.
func wholeSeconds(t time.Time) time.Time { return time.Unix(t.Unix(), 0) }
