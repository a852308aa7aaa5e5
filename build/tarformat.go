package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"hooksmith/build/rootfs"
)

// writeTar writes the tree as LinuxKit's format tar: PAX records say of every
// entry which item of the template it is from (linuxkit.md 1.7). files are the
// items of single paths, as "files[2]".
func writeTar(ctx context.Context, w io.Writer, tree *rootfs.Tree, parts []part, files map[string]string) error {
	of := origins(tree, parts)
	addFolders(tree, of)
	t := tar.NewWriter(w)
	first := map[*rootfs.Inode]string{}
	err := tree.Walk(func(p string, n *rootfs.Inode) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tarHeader(p, n)
		if err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		if i, ok := of[p]; ok {
			parts[i].sayOrigin(hdr, files[p])
		}
		if at, again := first[n]; again {
			hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, at, 0
		} else if n.Type() == rootfs.ModeFile {
			first[n] = p
		}
		if err := t.WriteHeader(hdr); err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		if hdr.Size > 0 {
			_, err = copyContext(ctx, t, n.Open())
		}
		return err
	})
	return errors.Join(err, t.Close())
}

// sayOrigin puts into the header what an entry is from; file is the item of its
// path, if that is a file of the template or a folder for one.
func (p *part) sayOrigin(hdr *tar.Header, file string) {
	location := p.location
	if file != "" && (location == "files" || location == "parents") {
		location = file
	}
	for key, value := range map[string]string{"LINUXKIT.source": p.source, "LINUXKIT.location": location} {
		if value != "" {
			hdr.PAXRecords[key] = value
		}
	}
}

// addFolders gives folders that no part describes the origin of what comes
// first below them.
func addFolders(tree *rootfs.Tree, of map[string]int) {
	_ = tree.Walk(func(p string, _ *rootfs.Inode) error {
		i, ok := of[p]
		for dir := path.Dir(p); ok && dir != "."; dir = path.Dir(dir) {
			if _, known := of[dir]; known {
				break
			}
			of[dir] = i
		}
		return nil
	})
}

var tarTypes = map[uint32]byte{
	rootfs.ModeFile: tar.TypeReg, rootfs.ModeDir: tar.TypeDir, rootfs.ModeLink: tar.TypeSymlink,
	rootfs.ModeChar: tar.TypeChar, rootfs.ModeBlock: tar.TypeBlock, rootfs.ModeFifo: tar.TypeFifo,
}

func tarHeader(p string, n *rootfs.Inode) (*tar.Header, error) {
	kind, ok := tarTypes[n.Type()]
	if !ok {
		return nil, fmt.Errorf("a file of mode %o has no place in a tar", n.Mode)
	}
	hdr := &tar.Header{
		Typeflag: kind, Name: p, Mode: int64(n.Mode & 0o7777), Uid: n.UID, Gid: n.GID, Size: n.Size,
		ModTime: n.ModTime, Linkname: n.Target, Devmajor: int64(n.Major), Devminor: int64(n.Minor),
		Format: tar.FormatPAX, PAXRecords: map[string]string{},
	}
	if n.IsDir() {
		hdr.Name += "/"
	}
	for name, value := range n.Xattrs {
		hdr.PAXRecords["SCHILY.xattr."+name] = value
	}
	return hdr, nil
}
