package source

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Archive is a tar with a kernel's source, compressed or not.
type Archive struct {
	Name    string // for people
	Release string // the kernel's version; "" reads it out of the archive's Makefile now
	ID      string // what Hash returns
	SHA256  string // of the bytes of Open, checked while they are read; "": Open does that
	// Open returns the bytes of the archive.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Signed, if not nil, is a proof over the uncompressed tar.
	Signed *Proof
}

type archive struct{ Archive }

// NewArchive makes a source of an archive. With Release the archive is not
// opened before it is needed, and must then be of that version.
func NewArchive(ctx context.Context, a Archive) (Source, error) {
	if a.Release != "" {
		return &archive{a}, nil
	}
	version := ""
	err := readArchive(ctx, a.Open, func(r io.Reader) error {
		var err error
		version, err = scanVersion(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel source %s: %w", a.Name, err)
	}
	a.Release = version
	return &archive{a}, nil
}

func (a *archive) Version() string { return a.Release }
func (a *archive) Hash() string    { return a.ID }
func (a *archive) String() string  { return a.Name }

func (a *archive) Tar(ctx context.Context) (io.ReadCloser, error) {
	return newStream(ctx, func(ctx context.Context, w io.Writer) error {
		if err := a.write(ctx, w); err != nil {
			return fmt.Errorf("kernel source %s: %w", a.Name, err)
		}
		return nil
	}), nil
}

// write writes the archive anew, and checks all that is known of it.
func (a *archive) write(ctx context.Context, w io.Writer) error {
	f, err := a.Open(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	// 1. The bytes as they are, hashed.
	packed := &hashedReader{r: contextReader{ctx, f}, sum: sha256.New()}
	plain, closePlain, err := unpack(packed)
	if err != nil {
		return errors.Join(err, packed.check(a.SHA256))
	}
	defer closePlain()
	// 2. The tar, which is what is signed.
	if a.Signed == nil {
		err = copyTar(plain, w, Top, a.Release)
	} else {
		err = a.Signed.check(plain, func(r io.Reader) error { return copyTar(r, w, Top, a.Release) })
	}
	if err != nil {
		return err
	}
	// 3. All of the bytes: nothing may follow that was not hashed.
	return packed.check(a.SHA256)
}

// readArchive hands the uncompressed tar to read, which need not read all.
func readArchive(ctx context.Context, open func(context.Context) (io.ReadCloser, error), read func(io.Reader) error) error {
	f, err := open(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, closePlain, err := unpack(contextReader{ctx, f})
	if err != nil {
		return err
	}
	defer closePlain()
	return read(plain)
}

// eachMember calls do for all members of a tar, with names below its top
// folder, and reads on to the end of r.
func eachMember(r io.Reader, do func(name string, h *tar.Header, content io.Reader) error) error {
	strip := ""
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			if strip == "" {
				return errors.New("the tar is empty")
			}
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return fmt.Errorf("reading the tar: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader { // git archive leaves the commit there
			continue
		}
		if strip == "" {
			strip = topOf(h)
		}
		name, err := relative(h.Name, strip)
		if err == nil && h.Typeflag == tar.TypeLink {
			h.Linkname, err = relative(h.Linkname, strip)
		}
		if err == nil {
			err = do(name, h, t)
		}
		if err != nil {
			return err
		}
	}
}

// copyTar writes the tar r anew, below top. If version is given, it must hold
// that kernel.
func copyTar(r io.Reader, w io.Writer, top, version string) error {
	rw, err := newRewriter(w, top)
	if err != nil {
		return err
	}
	kernel := version == ""
	err = eachMember(r, func(name string, h *tar.Header, content io.Reader) error {
		if name == "." {
			return nil
		}
		if name != "Makefile" || version == "" {
			return rw.add(name, h, content)
		}
		kernel = true
		makefile := &head{limit: maxMakefile}
		if err := rw.add(name, h, io.TeeReader(content, makefile)); err != nil {
			return err
		}
		return checkVersion(makefile.b, version)
	})
	if err == nil && !kernel {
		err = errNoKernel
	}
	return errors.Join(err, rw.closeAfter(err))
}

// closeAfter ends the tar, unless it is broken already.
func (rw *rewriter) closeAfter(err error) error {
	if err != nil {
		return nil
	}
	return rw.close()
}

func checkVersion(makefile []byte, want string) error {
	got, err := makefileVersion(makefile)
	if err == nil && got != want {
		err = fmt.Errorf("its Makefile says Linux %s, it should be %s", got, want)
	}
	return err
}

// errFound ends a search.
var errFound = errors.New("found")

// scanVersion reads a tar up to the kernel's Makefile.
func scanVersion(r io.Reader) (version string, err error) {
	entries := 0
	err = eachMember(r, func(name string, h *tar.Header, content io.Reader) error {
		if entries++; entries > maxEntries {
			return fmt.Errorf("it has more than %d members", maxEntries)
		}
		if name != "Makefile" || h.Typeflag != tar.TypeReg {
			return nil
		}
		makefile, err := io.ReadAll(io.LimitReader(content, maxMakefile))
		if err != nil {
			return err
		}
		if version, err = makefileVersion(makefile); err != nil {
			return err
		}
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return version, nil
	case err == nil:
		return "", errNoKernel
	}
	return "", err
}

// head keeps the first limit bytes that are written to it.
type head struct {
	b     []byte
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), h.limit-len(h.b))]...)
	return len(p), nil
}

// hashedReader hashes what is read.
type hashedReader struct {
	r   io.Reader
	sum hash.Hash
}

func (h *hashedReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	return n, err
}

// check reads the rest and compares. A decompressor may stop before the end.
func (h *hashedReader) check(want string) error {
	if _, err := io.Copy(io.Discard, h); err != nil || want == "" {
		return err
	}
	if got := hex.EncodeToString(h.sum.Sum(nil)); got != want {
		return fmt.Errorf("its SHA-256 is %s, it should be %s", got, want)
	}
	return nil
}
