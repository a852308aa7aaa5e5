package kernelconfig

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"hooksmith/kernel/source"
)

// Derive is (*fetch.Cache).Derive.
type Derive func(ctx context.Context, key string, make func(context.Context, io.Writer) error) (*os.File, error)

// Trim is a kernel's source with what configuring reads, and no more: 40 MB
// instead of 1.5 GB, kept in the cache, so that menuconfig appears in seconds
// the second time. It cannot be patched or compiled.
func Trim(s source.Source, derive Derive) source.Source { return trimmed{s, derive} }

type trimmed struct {
	source.Source
	derive Derive
}

// Tar implements source.Source. The whole source has been read and verified
// before the first byte is handed out.
func (t trimmed) Tar(ctx context.Context) (io.ReadCloser, error) {
	return t.derive(ctx, "kernel source to configure 1\n"+t.Hash(), func(ctx context.Context, w io.Writer) error {
		r, err := t.Source.Tar(ctx)
		if err != nil {
			return err
		}
		defer r.Close()
		return trim(w, r)
	})
}

func trim(w io.Writer, r io.Reader) error {
	out := tar.NewWriter(w)
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if !configures(strings.TrimPrefix(path.Clean(h.Name), source.Top+"/"), h) {
			continue
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("reading %s: %w", h.Name, err)
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // verified at its end
		return err
	}
	return out.Close()
}

// neverRead are the endings of files that only the compiler or people read.
var neverRead = []string{
	".c", ".h", ".S", ".s", ".rs", ".dts", ".dtsi", ".dtso", ".rst", ".txt", ".yaml", ".json", ".svg", ".gif",
	".ihex", ".asn1", ".py", ".pl", ".uni", ".reg", ".csv", ".crt",
}

const maxRead = 1 << 20

// configures tells whether configuring may read the file: what builds and runs
// kconfig, Kconfig files, Makefiles, defconfigs, and the header that has the
// length of the command line.
func configures(name string, h *tar.Header) bool {
	switch {
	case name == source.Top || strings.HasPrefix(name, "scripts/"):
		return true
	case h.Typeflag != tar.TypeReg:
		return false
	case strings.HasSuffix(name, "/asm/setup.h"):
		return true
	}
	return h.Size <= maxRead && !slices.Contains(neverRead, path.Ext(name))
}
