package verify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"hooksmith/build"
	"hooksmith/publish/sign"
)

// Options say how strict to be. The zero value checks hashes only.
type Options struct {
	Key    *sign.PublicKey                                  // nil: a signature is not asked for
	Skip   func(name string) bool                           // files that are not read; nil: none
	Opened func(name string, size int64) func(n int64)      // progress: called for each file, the result for n more bytes; may be nil
	Wrap   func(ctx context.Context, r io.Reader) io.Reader // limits the rate; may be nil
}

// Report is what was found.
type Report struct {
	ID        string // as ID makes it
	Manifest  *build.Manifest
	Raw       []byte          // hook.json as it is
	Signature *sign.Signature // nil without Options.Key
	Signed    []byte          // the signature as it is; nil without Options.Key
	Files     []Result        // artifacts by name, then the documents that are there
}

// Result is one file's.
type Result struct {
	File
	Document bool  // describes the set; hook.json does not name it
	Skipped  bool  // by Options.Skip
	Vouched  bool  // hook.json or the signature says what it has to be
	Err      error // nil: as it has to be
}

// Err joins the errors of all files.
func (r *Report) Err() error {
	var all []error
	for _, f := range r.Files {
		all = append(all, f.Err)
	}
	return errors.Join(all...)
}

// Set verifies a set. The error is about hook.json and its signature: without
// them, nothing else can be said. What is wrong with files is in the report.
func Set(ctx context.Context, src Source, opt Options) (*Report, error) {
	r, err := Head(ctx, src, opt.Key)
	if err != nil {
		return nil, err
	}
	files, err := Files(r.Manifest)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		res := Result{File: f, Vouched: true}
		if res.Skipped = opt.Skip != nil && opt.Skip(f.Name); !res.Skipped {
			res.Err = checkOne(ctx, src, f, opt)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.Files = append(r.Files, res)
	}
	documents, err := r.documents(ctx, src)
	if err != nil {
		return nil, err
	}
	r.Files = append(r.Files, documents...)
	return r, nil
}

// Head reads hook.json and, if key is not nil, verifies its signature. The
// report has no files.
func Head(ctx context.Context, src Source, key *sign.PublicKey) (*Report, error) {
	raw, err := readSmall(ctx, src, build.ManifestName, MaxManifest)
	if err != nil {
		return nil, err
	}
	r := &Report{ID: ID(raw), Raw: raw}
	if key != nil {
		signature, err := readSmall(ctx, src, sign.Name, sign.MaxSize)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is not signed: there is no %s (sign it with: hooksmith sign --key KEY FOLDER)", build.ManifestName, sign.Name)
		}
		if err != nil {
			return nil, err
		}
		if r.Signature, err = sign.Verify(key, raw, signature); err != nil {
			return nil, fmt.Errorf("%s: %w", sign.Name, err)
		}
		r.Signed = signature
	}
	if r.Manifest, err = ParseManifest(raw); err != nil {
		return nil, err
	}
	return r, nil
}

func readSmall(ctx context.Context, src Source, name string, limit int64) ([]byte, error) {
	f, err := src.Open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("reading %s: over %d bytes", name, limit)
	}
	return b, nil
}

func checkOne(ctx context.Context, src Source, f File, opt Options) error {
	rc, err := src.Open(ctx, f.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	defer rc.Close()
	var r io.Reader = rc
	if opt.Wrap != nil {
		r = opt.Wrap(ctx, r)
	}
	if opt.Opened != nil {
		r = &counted{r, opt.Opened(f.Name, f.Size)}
	}
	return Check(ctx, f, r)
}

type counted struct {
	io.Reader
	add func(n int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.add(int64(n))
	return n, err
}

// Check reads r to its end and tells whether it is f.
func Check(ctx context.Context, f File, r io.Reader) error {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	// One byte more than there should be tells that it is longer.
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, &stopping{ctx, io.LimitReader(r, f.Size+1)}, buf)
	switch {
	case err != nil:
		return fmt.Errorf("reading %s: %w", f.Name, err)
	case n > f.Size:
		return fmt.Errorf("%s is longer than the %d bytes of %s", f.Name, f.Size, build.ManifestName)
	case n < f.Size:
		return fmt.Errorf("%s has %d of %d bytes", f.Name, n, f.Size)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != f.SHA256 {
		return fmt.Errorf("%s has the SHA-256 %s, not %s", f.Name, sum, f.SHA256)
	}
	return nil
}

// stopping is a reader that ends with its context.
type stopping struct {
	ctx context.Context
	r   io.Reader
}

func (s *stopping) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// documents checks what hook.json does not name: checksum.txt has to say what
// hook.json says, the others what the signature says.
func (r *Report) documents(ctx context.Context, src Source) ([]Result, error) {
	var results []Result
	for _, name := range Documents() {
		want, named := "", false
		if r.Signature != nil {
			want, named = r.Signature.Documents[name]
		}
		data, err := readSmall(ctx, src, name, MaxManifest)
		if errors.Is(err, fs.ErrNotExist) && !named {
			continue
		}
		sum := sha256.Sum256(data)
		res := Result{Document: true, Vouched: named, Err: err,
			File: File{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}}
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
		case named && want != res.SHA256:
			res.Err = fmt.Errorf("%s has the SHA-256 %s, not %s as signed", name, res.SHA256, want)
		case name == build.ChecksumName:
			res.Vouched, res.Err = true, r.checksums(data)
		}
		results = append(results, res)
	}
	return results, nil
}

// checksums tells whether checksum.txt agrees with hook.json.
func (r *Report) checksums(data []byte) error {
	files, err := Files(r.Manifest)
	if err != nil {
		return err
	}
	want := map[string]string{}
	for _, f := range files {
		want[f.Name] = f.SHA512
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if known, there := want[name]; !ok || !there || known != sum {
			return fmt.Errorf("%s does not agree with %s: line %q", build.ChecksumName, build.ManifestName, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", build.ChecksumName, err)
	}
	return nil
}
