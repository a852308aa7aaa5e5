package zstdlong

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os/exec"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// part is literals and a repetition, in a block that a test makes.
type part struct {
	literals       []byte
	length, offset int
}

// frames makes a frame of blocks that no content would lead the matcher to.
type frames struct {
	window       int
	out, content []byte
	match        matcher
	block        blockWriter
}

func newFrame(window int) *frames {
	f := &frames{window: window}
	f.match.init()
	f.block.init()
	f.out = (&Writer{window: window}).appendHeader(nil)
	return f
}

// add appends a block, compressed even if that makes it longer, if the format
// allows it. Literals follow the last part.
func (f *frames) add(parts []part, literals []byte) {
	f.block.reset()
	start, recent := len(f.content), f.match.recent
	for _, p := range parts {
		f.block.addLiterals(p.literals, 0, len(p.literals))
		f.content = append(f.content, p.literals...)
		f.block.add(len(p.literals), p.length, f.match.offsetCode(p.offset, len(p.literals)))
		for range p.length {
			f.content = append(f.content, f.content[len(f.content)-p.offset])
		}
	}
	f.block.addLiterals(literals, 0, len(literals))
	f.content = append(f.content, literals...)
	longest := min(maxBlock, f.window)
	if len(f.content)-start > longest {
		panic(fmt.Sprintf("a block of %d bytes", len(f.content)-start))
	}
	header := len(f.out)
	f.out = f.block.appendSequences(f.block.appendLiterals(appendBlockHeader(f.out, false, compressedBlock, 0)))
	size := len(f.out) - header - 3
	if size > longest {
		f.match.recent = recent
		f.out, _ = f.block.append(f.out[:header], f.content[start:], false)
		return
	}
	appendBlockHeader(f.out[:header], false, compressedBlock, size)
}

// plain appends a block that is not compressed.
func (f *frames) plain(kind int, content []byte) {
	f.out = appendBlockHeader(f.out, false, kind, len(content))
	f.content = append(f.content, content...)
	if kind == rleBlock {
		content = content[:1]
	}
	f.out = append(f.out, content...)
}

// check compares what decoders make of the frame.
func (f *frames) check(t *testing.T) {
	t.Helper()
	if got := unpack(t, f.end()); !bytes.Equal(got, f.content) {
		t.Fatalf("%d bytes, want %d, first difference at %d", len(got), len(f.content), matchLengthOf(got, f.content))
	}
	reference(t, f.end(), f.content)
}

// end is the frame with a last block and the checksum.
func (f *frames) end() []byte {
	frame := appendBlockHeader(bytes.Clone(f.out), true, rawBlock, 0)
	return binary.LittleEndian.AppendUint32(frame, uint32(xxhash.Sum64(f.content)))
}

// reference asks the zstd program, whose decoder the kernel has.
func reference(t *testing.T, frame, content []byte) {
	t.Helper()
	program, err := exec.LookPath("zstd")
	if err != nil {
		return
	}
	cmd := exec.CommandContext(t.Context(), program, "-dqc", "--memory=128MB")
	cmd.Stdin = bytes.NewReader(frame)
	if got, err := cmd.Output(); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("zstd gives %d bytes, want %d: %v", len(got), len(content), err)
	}
}

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

// TestLongestSequence has the most bits that a sequence can have: states of
// all three tables and extra bits of the longest literals and repetition.
func TestLongestSequence(t *testing.T) {
	few := noise(1, 1<<10)
	for after := range 40 {
		f := newFrame(MaxWindow)
		f.add(nil, noise(2, maxBlock))
		var parts []part
		for i := range 2200 {
			if i == 2200-after {
				parts = append(parts, part{noise(3, 40_000), 70_000, 100_001})
			}
			parts = append(parts, part{few[i%500:][:i%2], 4 + i%7/6, 1000 + i%2})
		}
		f.add(parts, nil)
		f.check(t)
	}
}

// TestSmallWindows: a block is no longer than the window (RFC 8878, 3.1.1.2.4).
func TestSmallWindows(t *testing.T) {
	content := bytes.Join([][]byte{code(5, step), noise(3, maxBlock), code(5, 3*maxBlock)}, nil)
	for _, window := range []int{1, 100, 511, 512, 1023, 1024, 1025, 1151, 1152, 1153, 3000, 1<<16 - 1, 1 << 16, 100_000, maxBlock - 1, maxBlock, maxBlock + 1} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			reference(t, pack(t, content, Options{Window: window}, 99_999), content)
		})
	}
}
