package kernelsource

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"hooksmith/build/debian"
	"hooksmith/kernel/source"
)

// openDebian is the source of the package linux-source-M.m: the kernel of
// kernel.org with Debian's patches, signed by way of the archive.
func openDebian(ctx context.Context, env Env) (source.Source, error) {
	if env.Series == "" {
		return nil, errors.New("--source debian: the flavor does not say which kernel")
	}
	name := "linux-source-" + env.Series
	pkg, mirrors, err := findPackage(ctx, env, name)
	if err != nil {
		return nil, fmt.Errorf("kernel source: %w (--source kernel.org has all kernels)", err)
	}
	return source.NewArchive(ctx, source.Archive{
		Name:    fmt.Sprintf("Debian %s %s", pkg.Name, pkg.Version),
		Release: upstream(pkg.Version),
		ID:      pkg.SHA256,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			layer := debian.NewLayer(pkg, func() (io.ReadCloser, error) { return pkg.Open(ctx, env.Cache, mirrors) })
			content, err := layer.Uncompressed()
			if err != nil {
				return nil, err
			}
			return openMember(content, "usr/src/"+name+".tar.xz")
		},
	})
}

// findPackage looks the package up in the signed index.
func findPackage(ctx context.Context, env Env, name string) (*debian.Package, debian.Mirrors, error) {
	keys, err := debian.ShippedKeys(env.Configs)
	if err != nil {
		return nil, env.Mirrors, err
	}
	repo, err := debian.Open(ctx, env.Cache, debian.Options{Mirrors: env.Mirrors, Snapshot: env.Snapshot, Keys: keys, Now: env.Now})
	if err != nil {
		return nil, env.Mirrors, err
	}
	pkg, err := lookUp(ctx, env, repo, name)
	return pkg, repo.Mirrors(), err
}

// lookUp finds the package in the index, which is large: the answer is kept
// for as long as the archive is the same.
func lookUp(ctx context.Context, env Env, repo *debian.Repository, name string) (*debian.Package, error) {
	key := "kernel source package 1\n" + name
	for _, r := range repo.Releases() {
		key += "\n" + r.Suite + " " + r.SHA256
	}
	f, err := env.Cache.Derive(ctx, key, func(ctx context.Context, w io.Writer) error {
		index, err := repo.Index(ctx, "amd64", name) // the package is for all architectures
		if err != nil {
			return err
		}
		pkg, err := index.Package(name)
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(pkg)
	})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pkg := &debian.Package{}
	if err := json.NewDecoder(f).Decode(pkg); err != nil {
		return nil, fmt.Errorf("reading the cached package: %w", err)
	}
	return pkg, pkg.Validate()
}

// upstream is the kernel's version in that of the package; "" if that is not
// plain, as of a release candidate: then the source itself says it.
func upstream(version string) string {
	v, _, _ := strings.Cut(version, "-")
	if source.Series(v) == "" || strings.Count(v, ".") != 2 {
		return ""
	}
	return v
}

// member is one file of a tar, read to the end of which the rest of the tar is
// read too: only then whoever made it has compared its hash.
type member struct {
	file *tar.Reader
	all  io.ReadCloser
}

func openMember(content io.ReadCloser, name string) (io.ReadCloser, error) {
	for t := tar.NewReader(content); ; {
		h, err := t.Next()
		if err == io.EOF {
			err = fmt.Errorf("the package has no %s", name)
		}
		if err != nil {
			content.Close()
			return nil, err
		}
		if h.Name == name && h.Typeflag == tar.TypeReg {
			return &member{t, content}, nil
		}
	}
}

func (m *member) Read(p []byte) (int, error) {
	n, err := m.file.Read(p)
	if err == io.EOF {
		if _, rest := io.Copy(io.Discard, m.all); rest != nil {
			err = rest
		}
	}
	return n, err
}

func (m *member) Close() error { return m.all.Close() }
