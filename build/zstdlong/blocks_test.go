package zstdlong

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/huff0"
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
	recent := f.match.recent
	src := f.fill(parts, literals)
	f.block.gather(src)
	header := len(f.out)
	f.out = f.block.appendSequences(f.block.appendLiterals(appendBlockHeader(f.out, false, compressedBlock, 0)))
	size := len(f.out) - header - 3
	if size > min(maxBlock, f.window) {
		f.match.recent = recent
		f.block.huff.Reuse = huff0.ReusePolicyNone // what is thrown away here may have a table
		f.out = append(appendBlockHeader(f.out[:header], false, rawBlock, len(src)), src...)
		return
	}
	appendBlockHeader(f.out[:header], false, compressedBlock, size)
}

// offer appends a block of the kind that is shortest, as the Writer does.
func (f *frames) offer(parts []part, literals []byte) {
	recent := f.match.recent
	src := f.fill(parts, literals)
	var sequences bool
	if f.out, sequences = f.block.append(f.out, src, false); !sequences {
		f.match.recent = recent
	}
}

// fill puts sequences into the block, and returns its content.
func (f *frames) fill(parts []part, literals []byte) []byte {
	f.block.reset()
	start := len(f.content)
	for _, p := range parts {
		f.content = append(f.content, p.literals...)
		f.block.add(len(p.literals), p.length, f.match.offsetCode(p.offset, len(p.literals)))
		for range p.length {
			f.content = append(f.content, f.content[len(f.content)-p.offset])
		}
	}
	f.content = append(f.content, literals...)
	if n := len(f.content) - start; n > min(maxBlock, f.window) {
		panic(fmt.Sprintf("a block of %d bytes", n))
	}
	return f.content[start:]
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
	same := bytes.Repeat([]byte{7}, 4*maxBlock)
	rest := noise(11, maxBlock)
	raw := noise(12, maxBlock)
	copy(raw[20:], raw[3:10])
	for name, content := range map[string][]byte{
		// The second time all is one repetition; the blocks of a single byte say
		// nothing of it, and the one after them must not refer to it as a recent one.
		"RLE":            bytes.Join([][]byte{rest, same, raw, rest, same, raw}, nil),
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

// TestEdges has each number where the format begins to write it otherwise, in
// blocks of one sequence and of many.
func TestEdges(t *testing.T) {
	f := newFrame(1 << 20)
	f.add(nil, code(1, maxBlock))
	for _, count := range countEdges {
		for _, length := range []int{minMatch, minMatch + 1} {
			n := min(count, maxBlock/length)
			parts := slices.Repeat([]part{{length: length, offset: 77}}, n)
			for i := range parts {
				parts[i].offset += i * i % 5000 & 0xff8
			}
			f.add(parts, nil)
		}
	}
	few := []part{{length: 5, offset: 99}, {noise(1, 3), 9, 1000}, {noise(2, 20), 40, 9}}
	for _, literals := range literalEdges {
		for _, length := range lengthEdges {
			if room := maxBlock - 200; literals+length <= room {
				p := part{code(uint64(length), literals), length, 1 + (literals*length)%100_000}
				f.add([]part{p}, nil)
				f.add(slices.Concat(slices.Repeat(few, 1+length%20%12/3), []part{p}), noise(3, 2))
			}
		}
	}
	f.check(t)
}

// TestWindowEdge refers to the first byte of the window, and with a recent
// offset beyond what there is of it.
func TestWindowEdge(t *testing.T) {
	const window = 1 << 17
	f := newFrame(window)
	f.add(nil, noise(1, window/2))
	f.add([]part{{noise(2, window/2), 40, window}, {nil, 40, window}, {noise(3, 1), 50, window}, {nil, 9, window - 1}}, nil)
	f.add([]part{{noise(4, 9), 1000, window}, {nil, 1000, 1}, {nil, 1000, window}}, nil)
	f.check(t)
}

// TestAlphabets has literals of few and of all values, alike and not.
func TestAlphabets(t *testing.T) {
	f := newFrame(1 << 20)
	for _, values := range symbolEdges {
		for _, n := range []int{0, 1, 31, 32, 33, 34, 63, 255, 1023, 1024, 1025, 4095, 4096, 16383, 16384, maxBlock - 1, maxBlock} {
			for shape := range 3 {
				literals := noise(uint64(n), n)
				for i := range literals {
					v := int(literals[i])
					if shape > 0 {
						v = v * int(noise(9, 1)[0]|1) * int(literals[(i+1)%n]) >> (7 + shape*4)
					}
					literals[i] = byte(255 - v%values)
				}
				f.add(nil, literals)
			}
		}
	}
	f.check(t)
}

// TestNormalize shares cells out among symbols of any frequency.
func TestNormalize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 10))
	for range 30_000 {
		var count [maxSymbols]uint32
		n, different := 0, 0
		for s := range 2 + r.IntN(52) {
			if c := uint32(r.ExpFloat64() * float64(int(1)<<r.IntN(15))); c > 0 && n+int(c) <= maxBlock/3 {
				count[s], n, different = c, n+int(c), different+1
			}
		}
		if different < 2 {
			continue
		}
		table := fseTable{log: tableLog(n, different, uint8(8+r.IntN(2))), symbols: maxSymbols}
		table.normalize(&count, n)
		cells := 0
		for s, v := range table.norm {
			if cells += int(v); v < 0 || (v == 0) != (count[s] == 0) {
				t.Fatalf("%v: symbol %d has %d cells of %d", count, s, v, 1<<table.log)
			}
		}
		if cells != 1<<table.log {
			t.Fatalf("%v: %d cells of %d", count, cells, 1<<table.log)
		}
	}
}

// TestTableNotSent: a block that stays as it is takes its Huffman table along.
func TestTableNotSent(t *testing.T) {
	f := newFrame(1 << 20)
	f.add(nil, noise(1, maxBlock))
	sent := 0
	for values := 2; values < 60; values++ {
		literals := noise(uint64(values), 60)
		for i := range literals {
			literals[i] %= byte(values)
		}
		for sequences := range 4 {
			kinds := map[string]int{}
			start := len(f.out)
			parts := slices.Repeat([]part{{nil, 3, 100_000 + values}}, 1+sequences)
			parts[0].literals = literals
			f.offer(parts, nil)
			if count(f.out[start:], kinds); kinds["block raw"] == 1 && f.block.huff.OutTable != nil {
				f.offer(nil, literals) // which that table is for
				sent++
			}
		}
	}
	if sent < 4 {
		t.Errorf("only %d blocks as this is about", sent)
	}
	f.check(t)
}
