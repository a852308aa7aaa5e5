package initramfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/semaphore"

	"hooksmith/build/zstdlong"
)

// errUndecodable is a fault of an encoder.
var errUndecodable = errors.New("what was compressed does not decompress to what went in; this is a fault of hooksmith: " +
	"please report it, and build with --level 20 or --compress gzip, which use other encoders")

// verify decompresses a segment that zstdlong has just made, with the decoder
// of others, and compares the checksum: a fault of the encoder ends the build
// and not, weeks later, the boot of a machine. It takes a seventh of the time
// of compressing, mostly beside the segments that are still being made. The
// cache gets the segment after it. It returns the segment's SHA-256 in hex.
func verify(ctx context.Context, r io.ReaderAt, info Info, memory *semaphore.Weighted) (string, error) {
	need := min(int64(zstdlong.DefaultWindow), info.Unpacked) + 8<<20
	if err := memory.Acquire(ctx, need); err != nil {
		return "", err
	}
	defer memory.Release(need)
	sum := sha256.New()
	in := io.TeeReader(io.NewSectionReader(r, 0, info.Size), sum)
	d, err := zstd.NewReader(in,
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdlong.DefaultWindow))
	if err != nil {
		return "", err
	}
	defer d.Close()
	n, err := io.Copy(contextWriter{ctx}, d)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("%w (%v)", errUndecodable, err)
	case n != info.Unpacked:
		return "", fmt.Errorf("%w (%d bytes of %d)", errUndecodable, n, info.Unpacked)
	}
	if _, err := io.Copy(io.Discard, in); err != nil { // what the decoder left
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// contextWriter drops what is written until ctx ends.
type contextWriter struct{ ctx context.Context }

func (w contextWriter) Write(p []byte) (int, error) { return len(p), w.ctx.Err() }
