package embed

import (
	"bytes"
	"encoding/binary"
	"hash/crc64"
	"testing"
)

func FuzzISOSum(f *testing.F) {
	f.Add([]byte(nil), 1, 1)
	f.Add([]byte("123456789"), 3, 9)
	f.Add(bytes.Repeat([]byte("hooksmith\x00\xff"), 40), 31, 33)
	table := crc64.MakeTable(crc64.ISO)
	f.Fuzz(func(t *testing.T, p []byte, first, second int) {
		first = min(max(first, 0), len(p))
		second = min(max(second, first), len(p))
		var s isoSum
		s.reset()
		for _, part := range [][]byte{p[:first], p[first:second], p[second:]} {
			_, _ = s.Write(part)
		}
		if got, want := binary.BigEndian.Uint64(s.sum()), crc64.Checksum(p, table); got != want {
			t.Errorf("%d bytes in parts of %d, %d: %x instead of %x", len(p), first, second-first, got, want)
		}
	})
}

func BenchmarkISOSum(b *testing.B) {
	p := bytes.Repeat([]byte{1, 2, 3, 5, 8, 13, 21}, 1<<16)
	table := crc64.MakeTable(crc64.ISO)
	b.Run("here", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		var s isoSum
		for b.Loop() {
			s.reset()
			_, _ = s.Write(p)
		}
	})
	b.Run("hash-crc64", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			crc64.Checksum(p, table)
		}
	})
}
