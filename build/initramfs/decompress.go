package initramfs

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// opener opens the compressed segment that begins where in stands. When the
// stream has ended, in stands at the first byte after the segment; done
// releases what was opened.
type opener func(in *tracker) (stream io.Reader, done func(), err error)

// detect tells a compression by its magic. Those that have a name but no
// opener are known to the kernel and not to Read.
func detect(magic []byte) (Compression, opener) {
	for _, f := range []struct {
		magic string
		kind  Compression
		open  opener
	}{
		{"\x28\xb5\x2f\xfd", Zstd, openZstd},
		{"\x1f\x8b", Gzip, openGzip},
		{"\xfd7zXZ\x00", XZ, openXZ},
		{"\x02\x21\x4c\x18", "lz4", refuse},
		{"\x04\x22\x4d\x18", "lz4", refuse},
		{"\x5d\x00\x00", "lzma", refuse},
		{"\x89LZO", "lzo", refuse},
		{"BZh", "bzip2", refuse},
	} {
		if bytes.HasPrefix(magic, []byte(f.magic)) {
			return f.kind, f.open
		}
	}
	return "", nil
}

func refuse(*tracker) (io.Reader, func(), error) {
	return nil, nil, errors.New("segments of this compression are not supported; compress it with zstd, gzip or xz")
}

func nothing() {}

// openGzip reads a single member: the kernel takes a second one for a new
// archive, which must not begin within a record.
func openGzip(in *tracker) (io.Reader, func(), error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, nil, noEOF(err)
	}
	z.Multistream(false)
	return z, nothing, nil
}

// kernelWindow is the largest window that the kernel's zstd and xz take.
const kernelWindow = 128 << 20

// openZstd reads a single frame, for the same reason.
func openZstd(in *tracker) (io.Reader, func(), error) {
	frame, err := zstdFrame(in)
	if err != nil {
		return nil, nil, err
	}
	z, err := zstd.NewReader(frame,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(kernelWindow))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

// openXZ reads a single stream.
func openXZ(in *tracker) (io.Reader, func(), error) {
	z, err := xz.NewReader(xzFrame(in), kernelWindow)
	if err != nil {
		return nil, nil, err
	}
	return z, nothing, nil
}
