package kernel

import (
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// maxWindow bounds the dictionary that a compressed module may ask for. The
// kernel's own build uses 1 MiB (xz) and 2 MiB (zstd -19), the tools' defaults
// are 8 MiB; a header that claims more would only cost memory.
const maxWindow = 16 << 20

// moduleSuffixes are the ways in which a module may be stored, in the order
// in which depmod knows them.
var moduleSuffixes = []string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"}

// moduleStem cuts the suffix of a module's file name. ok is false for a file
// that is no module.
func moduleStem(path string) (stem string, ok bool) {
	for _, suffix := range moduleSuffixes {
		if stem, ok = strings.CutSuffix(path, suffix); ok {
			return stem, true
		}
	}
	return "", false
}

// unpacker decompresses one file after the other, with the same buffers. Its
// zero value is ready; it is not safe for concurrent use.
type unpacker struct {
	xz   *xz.Reader
	zstd *zstd.Decoder
	gzip *gzip.Reader
}

// open returns a reader of the content of r, as the suffix of path says. The
// reader is valid until the next call. A suffix that stands for no compression
// gives r itself.
func (u *unpacker) open(path string, r io.Reader) (io.Reader, error) {
	switch {
	case strings.HasSuffix(path, ".xz"):
		return u.openXZ(r)
	case strings.HasSuffix(path, ".zst"):
		return u.openZstd(r)
	case strings.HasSuffix(path, ".gz"):
		return u.openGzip(r)
	}
	return r, nil
}

func (u *unpacker) openXZ(r io.Reader) (io.Reader, error) {
	if u.xz != nil {
		return u.xz, u.xz.Reset(r)
	}
	z, err := xz.NewReader(r, maxWindow)
	if err != nil {
		return nil, err
	}
	u.xz = z
	return z, nil
}

func (u *unpacker) openZstd(r io.Reader) (io.Reader, error) {
	if u.zstd != nil {
		return u.zstd, u.zstd.Reset(r)
	}
	// Concurrency 1 decodes in the caller's goroutine: the parallelism is over
	// modules, and nothing outlives the read.
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	u.zstd = z
	return z, nil
}

func (u *unpacker) openGzip(r io.Reader) (io.Reader, error) {
	if u.gzip != nil {
		return u.gzip, u.gzip.Reset(r)
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	u.gzip = z
	return z, nil
}

// close gives the buffers back.
func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
}
