package debian

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxControl bounds the unpacked control archive and the control file in it.
const maxControl = 32 << 20

// openDeb reads a .deb up to its data archive: it returns the fields of the
// control file and the uncompressed data.tar, which reads from r.
func openDeb(r io.Reader) (control map[string]string, data io.Reader, err error) {
	ar, err := newArReader(r)
	if err != nil {
		return nil, nil, err
	}
	if err := checkFormat(ar); err != nil {
		return nil, nil, err
	}
	member, ext, err := openMember(ar, "control.tar")
	if err != nil {
		return nil, nil, err
	}
	if control, err = readControl(member, ext); err != nil {
		return nil, nil, fmt.Errorf("reading control archive: %w", err)
	}
	if member, ext, err = openMember(ar, "data.tar"); err != nil {
		return nil, nil, err
	}
	if data, err = decompress(member, ext); err != nil {
		return nil, nil, fmt.Errorf("reading data archive: %w", err)
	}
	return control, data, nil
}

// checkFormat reads the first member, the format version. deb(5): minor
// versions are compatible.
func checkFormat(ar *arReader) error {
	name, r, err := ar.next()
	if err != nil || name != "debian-binary" {
		return errors.New("not a Debian package: its first member is not debian-binary")
	}
	b, err := readAllBounded(r, 64, name)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(b), "2.") {
		return fmt.Errorf("package format %q is not supported", strings.TrimSpace(string(b)))
	}
	return nil
}

// openMember finds the next member of the package, which must be base with or
// without a compression. Members starting with "_" may stand between (deb(5)).
func openMember(ar *arReader, base string) (r io.Reader, ext string, err error) {
	for {
		name, r, err := ar.next()
		if err == io.EOF {
			return nil, "", fmt.Errorf("package has no %s", base)
		}
		if err != nil {
			return nil, "", err
		}
		if strings.HasPrefix(name, "_") {
			continue
		}
		if ext, ok := strings.CutPrefix(name, base); ok && (ext == "" || path.Ext(name) == ext) {
			return r, ext, nil
		}
		return nil, "", fmt.Errorf("package has %s where %s should be", name, base)
	}
}

// readControl returns the fields of the control file.
func readControl(r io.Reader, ext string) (map[string]string, error) {
	text, err := decompress(r, ext)
	if err != nil {
		return nil, err
	}
	tr := tar.NewReader(&boundedReader{r: text, left: maxControl, what: "control archive"})
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil, errors.New("it has no control file")
		}
		if err != nil {
			return nil, err
		}
		if path.Clean(h.Name) != "control" || h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := readAllBounded(tr, maxStanza, "control file")
		if err != nil {
			return nil, err
		}
		f, err := parseControl(b)
		if err != nil || len(f) != 1 {
			return nil, errors.New("its control file is damaged")
		}
		return f[0], nil
	}
}

// checkControl makes sure that a .deb is the package that the index names.
func (p *Package) checkControl(f map[string]string) error {
	for _, c := range []struct{ field, want string }{
		{"package", p.Name}, {"version", p.Version}, {"architecture", p.Architecture},
	} {
		if f[c.field] != c.want {
			return fmt.Errorf("its %s is %q, the repository says %q", c.field, f[c.field], c.want)
		}
	}
	return nil
}

// newZstdReader reads without goroutines, so an unread rest leaks nothing.
func newZstdReader(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
}
