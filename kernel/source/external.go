package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// External is the source of modules that are not part of the kernel, to be
// built with make M=.
type External struct {
	Name    string // ice: that of the folder, or what dkms.conf says
	Version string // 2.4.5, or ""
	Path    string // where it is from, for people
	// Dir is the folder with the Makefile or Kbuild, below that of the tar: "."
	// or src (as of Intel's drivers).
	Dir string

	sum   string
	write func(ctx context.Context, w io.Writer, top string) error
}

// Hash is the SHA-256 of names, modes, links and contents.
func (e External) Hash() string { return e.sum }

// Tar is the source as an uncompressed tar, all members below the folder Name.
// It is compared with Hash inside Read. The caller closes it.
func (e External) Tar(ctx context.Context) (io.ReadCloser, error) {
	return newStream(ctx, func(ctx context.Context, w io.Writer) error {
		sum := sha256.New()
		if err := e.write(ctx, io.MultiWriter(w, sum), e.Name); err != nil {
			return fmt.Errorf("external module %s: %w", e.Path, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != e.sum {
			return fmt.Errorf("external module %s: it was changed meanwhile", e.Path)
		}
		return nil
	}), nil
}

// OpenExternal opens a folder or a tar with a Makefile or a Kbuild in its top
// folder or in src.
func OpenExternal(ctx context.Context, path string) (External, error) {
	e, err := openExternal(ctx, path)
	if err != nil {
		return e, fmt.Errorf("external module %s: %w", path, err)
	}
	return e, nil
}

func openExternal(ctx context.Context, path string) (External, error) {
	e := External{Path: path}
	st, err := os.Stat(path)
	if err != nil {
		return e, err
	}
	if st.IsDir() {
		e.write = func(ctx context.Context, w io.Writer, top string) error {
			root, err := os.OpenRoot(path)
			if err != nil {
				return err
			}
			defer root.Close()
			return copyFolder(ctx, root, w, top)
		}
	} else {
		open := func(context.Context) (io.ReadCloser, error) { return os.Open(path) }
		e.write = func(ctx context.Context, w io.Writer, top string) error {
			return readArchive(ctx, open, func(r io.Reader) error { return copyTar(r, w, top, "") })
		}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return e, err
	}
	if filepath.Base(abs) == "src" { // of a driver that was unpacked
		abs = filepath.Dir(abs)
	}
	if err := e.inspect(ctx, filepath.Base(abs)); err != nil {
		return e, err
	}
	e.sum, err = e.hash(ctx)
	return e, err
}

// inspect finds the Makefile, and what the module is called.
func (e *External) inspect(ctx context.Context, base string) error {
	e.Name, e.Version = nameVersion(base)
	found := map[string]bool{}
	var dkms []byte
	r := newStream(ctx, func(ctx context.Context, w io.Writer) error { return e.write(ctx, w, "x") })
	defer r.Close()
	err := eachMember(r, func(name string, h *tar.Header, content io.Reader) error {
		if h.Typeflag == tar.TypeReg {
			found[name] = true
		}
		if name != "dkms.conf" && name != "src/dkms.conf" {
			return nil
		}
		var err error
		dkms, err = io.ReadAll(io.LimitReader(content, maxMakefile))
		return err
	})
	if err != nil {
		return err
	}
	switch {
	case found["Makefile"] && found["Kconfig"] && found["Kbuild"]:
		return errors.New("it is a whole kernel: give it with --source")
	case found["Makefile"], found["Kbuild"]:
		e.Dir = "."
	case found["src/Makefile"], found["src/Kbuild"]:
		e.Dir = "src"
	default:
		return errors.New("it has neither Makefile nor Kbuild, in its top folder or in src")
	}
	return e.readDKMS(dkms)
}

// externalName is what may be part of a path in the container.
var externalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$`)

var dkmsLine = regexp.MustCompile(`^(PACKAGE_NAME|PACKAGE_VERSION)=["']?([^"'\s]*)["']?\s*$`)

// readDKMS takes name and version from dkms.conf, where they are plain words.
func (e *External) readDKMS(conf []byte) error {
	for lines := bufio.NewScanner(bytes.NewReader(conf)); lines.Scan(); {
		m := dkmsLine.FindStringSubmatch(lines.Text())
		switch {
		case m == nil || !externalName.MatchString(m[2]):
		case m[1] == "PACKAGE_NAME":
			e.Name = m[2]
		default:
			e.Version = m[2]
		}
	}
	if !externalName.MatchString(e.Name) {
		return fmt.Errorf("its name %q: want letters, digits, '.', '_', '+' and '-': rename it", e.Name)
	}
	return nil
}

var versionSuffix = regexp.MustCompile(`^(.+?)[-_]v?([0-9][A-Za-z0-9._+-]*)$`)

// nameVersion takes ice-2.4.5.tar.gz apart.
func nameVersion(base string) (name, version string) {
	for _, ext := range slices.Concat([]string{".tgz", ".txz"}, []string{".gz", ".xz", ".zst", ".bz2"}, []string{".tar"}) {
		base = strings.TrimSuffix(base, ext)
	}
	if m := versionSuffix.FindStringSubmatch(base); m != nil {
		return m[1], m[2]
	}
	return base, ""
}

func (e *External) hash(ctx context.Context) (string, error) {
	sum := sha256.New()
	err := e.write(ctx, sum, e.Name)
	return hex.EncodeToString(sum.Sum(nil)), err
}
