package build

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"hooksmith/build/debian"
	"hooksmith/build/rootfs"
)

// check looks for missing libraries and link targets in every root file system
// that is made of Debian packages. Images of others are as their makers want
// them: they are looked at only if asked for. What was found good once is not
// read again.
func (b *builder) check(ctx context.Context, parts []part, tree *rootfs.Tree) error {
	initOurs, hasInit := true, false
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(unpackParallel)
	found := make([]error, len(parts)+1)
	for i, p := range parts {
		if strings.HasPrefix(p.location, "init[") {
			hasInit, initOurs = true, initOurs && p.ours
		}
		if p.root != nil && (p.ours || b.opt.CheckAll) {
			g.Go(func() error { return b.checkRoot(ctx, p.name, p.root, &found[i]) })
		}
	}
	if hasInit && (initOurs || b.opt.CheckAll) {
		base := tree.Keep(func(p string, n *rootfs.Inode) bool {
			return !strings.HasPrefix(p, "containers/") && !isModule(p)
		})
		g.Go(func() error { return b.checkRoot(ctx, "init", base, &found[len(parts)]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return errors.Join(found...)
}

// errProblems keeps Derive from taking a bad tree for a checked one.
var errProblems = errors.New("files are missing")

// checkRoot sets found to what is missing in a root file system.
func (b *builder) checkRoot(ctx context.Context, name string, tree *rootfs.Tree, found *error) error {
	digest, err := treeDigest(tree)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	key := "tree check 2\n" + b.arch.Debian() + "\n" + digest
	done, err := b.opt.Cache.Derive(ctx, key, func(context.Context, io.Writer) error {
		problems, err := debian.CheckTree(tree.FS(), debian.CheckOptions{Arch: b.arch.Debian(), Owner: b.owner})
		if err != nil || len(problems) == 0 {
			return err
		}
		for _, problem := range problems {
			*found = errors.Join(*found, fmt.Errorf("%s: %w", name, problem))
		}
		return errProblems
	})
	if errors.Is(err, errProblems) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return done.Close()
}

// treeDigest names what a tree looks like to programs: paths, types, modes,
// targets and contents.
func treeDigest(t *rootfs.Tree) (string, error) {
	h := sha256.New()
	var buf []byte
	err := t.Walk(func(p string, n *rootfs.Inode) error {
		buf = append(append(buf[:0], p...), 0)
		buf = binary.BigEndian.AppendUint32(buf, n.Mode)
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(n.Target)))
		buf = append(buf, n.Target...)
		if n.Size > 0 {
			var err error
			if buf, err = n.AppendContentID(buf); err != nil {
				return fmt.Errorf("reading %q: %w", p, err)
			}
		}
		h.Write(buf)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}
