// Package bootfiles gets the iPXE binaries that the boot server gives to machines: those of Debian's package ipxe.
//
// The package's version and hash are pinned in configs/ipxe.yaml: the same hooksmith serves the same bytes, and once
// they are in the cache no network is needed. A mirror that has dropped the version gives its successor, which Debian's
// signature vouches for.
package bootfiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"hooksmith/build/debian"
	"hooksmith/build/fetch"
	"hooksmith/build/rootfs"
)

// pinName is the file of Options.Configs with the package that is wanted.
const pinName = "ipxe.yaml"

// Options say where the package comes from.
type Options struct {
	Configs fs.FS // ipxe.yaml and keyrings/
	Cache   *fetch.Cache
	Mirrors debian.Mirrors
	Log     *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// Files are the binaries in usr/lib/ipxe of FS, until Close.
type Files struct {
	fs.FS
	Package *debian.Package

	tar *os.File
}

// Close ends the use of FS.
func (f *Files) Close() error { return f.tar.Close() }

// Pinned reads which package is wanted.
func Pinned(configs fs.FS) (*debian.Package, error) {
	b, err := fs.ReadFile(configs, pinName)
	if err != nil {
		return nil, fmt.Errorf("reading the pinned iPXE: %w", err)
	}
	p := &debian.Package{}
	if err := yaml.UnmarshalWithOptions(b, p, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("%s: %w", pinName, err)
	}
	return p, p.Validate()
}

// Open finds the pinned package in the cache, downloads it, or takes what the
// signed repository has instead.
func Open(ctx context.Context, opt Options) (*Files, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	p, err := Pinned(opt.Configs)
	if err != nil {
		return nil, err
	}
	files, err := open(ctx, opt, p, opt.Mirrors)
	if err == nil || errors.Is(err, fetch.ErrOffline) || ctx.Err() != nil {
		return files, err
	}
	newer, mirrors, findErr := find(ctx, opt)
	if findErr != nil {
		return nil, fmt.Errorf("getting Debian's package ipxe: %w", errors.Join(err, findErr))
	}
	if newer.SHA256 == p.SHA256 {
		return nil, err
	}
	opt.Log.Warn("the mirror does not have the iPXE that this hooksmith was made with; taking its own, signed by Debian", "wanted", p.Version, "taken", newer.Version)
	return open(ctx, opt, newer, mirrors)
}

// find asks the signed repository.
func find(ctx context.Context, opt Options) (*debian.Package, debian.Mirrors, error) {
	keys, err := debian.ShippedKeys(opt.Configs)
	if err != nil {
		return nil, debian.Mirrors{}, err
	}
	repo, err := debian.Open(ctx, opt.Cache, debian.Options{Mirrors: opt.Mirrors, Keys: keys, Now: opt.Now})
	if err != nil {
		return nil, debian.Mirrors{}, err
	}
	index, err := repo.Index(ctx, "amd64", "ipxe") // architecture all: in every index
	if err != nil {
		return nil, debian.Mirrors{}, err
	}
	p, err := index.Package("ipxe")
	return p, repo.Mirrors(), err
}

// open unpacks a package once; later it is only mapped.
func open(ctx context.Context, opt Options, p *debian.Package, mirrors debian.Mirrors) (*Files, error) {
	layer := debian.NewLayer(p, func() (io.ReadCloser, error) { return p.Open(ctx, opt.Cache, mirrors) })
	tar, err := opt.Cache.Derive(ctx, "ipxe tar\n"+layer.Identity(), func(_ context.Context, w io.Writer) error {
		rc, err := layer.Uncompressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(w, rc)
		return errors.Join(err, rc.Close())
	})
	if err != nil {
		return nil, err
	}
	tree, err := flatten(tar)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", p, err), tar.Close())
	}
	return &Files{tree.FS(), p, tar}, nil
}

func flatten(tar *os.File) (*rootfs.Tree, error) {
	st, err := tar.Stat()
	if err != nil {
		return nil, err
	}
	layer, err := rootfs.Index(tar, st.Size())
	if err != nil {
		return nil, err
	}
	return rootfs.Flatten(layer)
}
