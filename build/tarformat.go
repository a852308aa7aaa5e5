package build

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"hooksmith/build/rootfs"
)

// writeTar writes the tree as LinuxKit's format tar: PAX records say of every
// entry which item of the template it is from (linuxkit.md 1.7).
func writeTar(ctx context.Context, w io.Writer, tree *rootfs.Tree, parts []part) error {
	of := origins(tree, parts)
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
			if parts[i].source != "" {
				hdr.PAXRecords["LINUXKIT.source"] = parts[i].source
			}
			if parts[i].location != "" {
				hdr.PAXRecords["LINUXKIT.location"] = parts[i].location
			}
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
