package zstdlong

import (
	"bytes"
	"testing"
)

// TestRecentOffsets: blocks that are not compressed leave the decoder's recent
// offsets alone, whatever was found in them.
func TestRecentOffsets(t *testing.T) {
	var run byte // of bytes at which the sparse table looks
	for !chosen(uint64(run) * 0x0101010101010101) {
		run++
	}
	same := bytes.Repeat([]byte{run}, 4*maxBlock)
	rest := noise(11, maxBlock/2)
	raw := noise(12, maxBlock)
	copy(raw[20:], raw[3:10])
	for name, content := range map[string][]byte{
		"RLE":            bytes.Join([][]byte{rest[:500], same, rest[600:], same[:5000]}, nil),
		"not compressed": bytes.Join([][]byte{raw, rest[:100], bytes.Repeat(rest[:17], 9)}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Equal(unpack(t, pack(t, content, Options{}, 1<<30)), content) {
				t.Error("other content")
			}
		})
	}
}
