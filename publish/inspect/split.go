package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/zstd"
)

// span is a run of bytes of an initramfs that can be read on its own.
type span struct{ start, end int64 }

// maxSpans bounds how finely a file is cut: a hostile one could be a million
// empty frames.
const maxSpans = 4096

// split cuts an initramfs where segments begin, so that they can be read next
// to each other: zstd frames and plain archives, whose ends are found without
// decoding. What follows anything else is one span. Nothing is judged here:
// what is malformed is left to the one who reads the span.
func split(r io.ReaderAt, size int64) ([]span, error) {
	var spans []span
	for at := int64(0); at < size && len(spans) < maxSpans; {
		start, err := skipZeros(r, at, size)
		if err != nil {
			return nil, err
		}
		if start == size {
			return spans, nil
		}
		end, err := segmentEnd(r, start, size)
		if err != nil {
			return nil, err
		}
		spans = append(spans, span{start, end})
		at = end
	}
	if n := len(spans); n == maxSpans {
		spans[n-1].end = size
	}
	return spans, nil
}

// skipZeros is the offset of the first byte that is not zero.
func skipZeros(r io.ReaderAt, at, size int64) (int64, error) {
	var buf [4096]byte
	for at < size {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if rest := bytes.TrimLeft(buf[:n], "\x00"); len(rest) > 0 {
			return at + int64(n-len(rest)), nil
		}
		at += int64(n)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("reading at %d: %w", at, err)
		}
		if n == 0 {
			return 0, fmt.Errorf("the file ends at %d, %d bytes were said", at, size)
		}
	}
	return size, nil
}

// segmentEnd finds where the segment at start ends; size if that cannot be
// known without decoding it.
func segmentEnd(r io.ReaderAt, start, size int64) (int64, error) {
	var b [zstd.HeaderMaxSize]byte
	n, err := r.ReadAt(b[:min(int64(len(b)), size-start)], start)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading at %d: %w", start, err)
	}
	var end int64
	switch {
	case bytes.HasPrefix(b[:n], []byte("\x28\xb5\x2f\xfd")):
		end = zstdEnd(r, b[:n], start, size)
	case bytes.HasPrefix(b[:n], []byte("07070")):
		end = archiveEnd(r, start, size)
	default:
		end = size
	}
	if end <= start || end > size {
		end = size
	}
	return end, nil
}

// zstdEnd follows the block headers of a frame (RFC 8878, section 3.1.1).
func zstdEnd(r io.ReaderAt, head []byte, at, size int64) int64 {
	const rle = 1
	var h zstd.Header
	if h.Decode(head) != nil {
		return size
	}
	at += int64(h.HeaderSize)
	for last := false; !last; {
		var b [4]byte
		if _, err := r.ReadAt(b[:3], at); err != nil {
			return size
		}
		v := binary.LittleEndian.Uint32(b[:])
		last = v&1 != 0
		at += 3
		if v>>1&3 == rle {
			at++
		} else {
			at += int64(v >> 3)
		}
	}
	if h.HasCheckSum {
		at += 4
	}
	return at
}

// archiveEnd follows the headers of a plain newc archive to its trailer.
func archiveEnd(r io.ReaderAt, at, size int64) int64 {
	const headerSize, trailer = 110, "TRAILER!!!\x00"
	var b [headerSize + len(trailer)]byte
	for {
		n, _ := r.ReadAt(b[:], at)
		if n < len(b) || string(b[:6]) != "070701" {
			return size
		}
		content, ok1 := hexField(b[54:62])
		name, ok2 := hexField(b[94:102])
		if !ok1 || !ok2 {
			return size
		}
		at = align4(at + headerSize + name)
		if string(b[headerSize:]) == trailer {
			return at
		}
		at = align4(at + content)
	}
}

func align4(n int64) int64 { return n + -n&3 }

func hexField(b []byte) (v int64, ok bool) {
	n, err := strconv.ParseUint(string(b), 16, 63)
	return int64(n), err == nil
}
