package zstdlong

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// pack compresses content in writes of the given size.
func pack(tb testing.TB, content []byte, opt Options, piece int) []byte {
	tb.Helper()
	var out bytes.Buffer
	z, err := NewWriter(&out, opt)
	if err != nil {
		tb.Fatal(err)
	}
	for p := content; len(p) > 0; {
		k := min(piece, len(p))
		if n, err := z.Write(p[:k]); n != k || err != nil {
			tb.Fatalf("Write: %d of %d, %v", n, k, err)
		}
		p = p[k:]
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// unpack decompresses with another's decoder, which verifies the checksum.
func unpack(tb testing.TB, frame []byte) []byte {
	tb.Helper()
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(MaxWindow), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		tb.Fatal(err)
	}
	defer z.Close()
	got, err := z.DecodeAll(frame, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	for r := rand.NewPCG(seed, 1); len(b) < n; {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// code looks like a program: words of few kinds, which repeat.
func code(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	var words [512][]byte
	for i := range words {
		words[i] = noise(uint64(i), 1+r.IntN(12))
	}
	b := make([]byte, 0, n+16)
	for len(b) < n {
		b = append(b, words[int(r.ExpFloat64()*40)&511]...)
	}
	return b[:n]
}

// contents are by their names what is compressed in tests.
func contents() map[string][]byte {
	text := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 4000))
	program := code(1, step+step/4)
	changed := bytes.Clone(program)
	for i := 1000; i < len(changed); i += 5000 {
		changed[i]++
	}
	skewed := noise(7, 300_000)
	for i := range skewed {
		skewed[i] &= skewed[(i*7919+1)%len(skewed)] & 0x1f
	}
	m := map[string][]byte{
		"nothing": {}, "a byte": {7}, "two": {1, 2}, "zeros": make([]byte, 1<<20), "zeros and one": append(make([]byte, 200_000), 1),
		"text": text, "noise": noise(3, 400_000), "program": program, "skewed": skewed,
		"a program twice": bytes.Join([][]byte{program, noise(5, 100), changed}, nil),
		"noise far back":  bytes.Join([][]byte{noise(6, 1<<20), program, noise(6, 1<<20)}, nil),
		"repeated noise":  bytes.Repeat(noise(8, 100_001), 9),
		"period 3":        bytes.Repeat([]byte("abc"), 100_000), "period 9": bytes.Repeat([]byte("abcdefghi"), 70_000),
	}
	for _, n := range []int{3, 8, 9, 10, 31, 32, 33, 63, 255, 1023, 1024, 1025, 16383, 16384, maxBlock - 1, maxBlock, maxBlock + 1, step, step + 1} {
		m[fmt.Sprintf("%d bytes", n)] = program[1000:][:n]
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	for name, content := range contents() {
		t.Run(name, func(t *testing.T) {
			for _, opt := range []Options{{}, {Size: int64(len(content))}, {Window: 256 << 10}} {
				frame := pack(t, content, opt, 100_003)
				if got := unpack(t, frame); !bytes.Equal(got, content) {
					t.Fatalf("%+v: unpacked %d bytes, want %d, first difference at %d", opt, len(got), len(content), matchLengthOf(got, content))
				}
				if opt == (Options{}) && !bytes.Equal(pack(t, content, opt, 1<<30), frame) {
					t.Errorf("%+v: other bytes in one write", opt)
				}
			}
		})
	}
}

func matchLengthOf(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestReferenceDecoder asks the zstd program, whose decoder the kernel has.
func TestReferenceDecoder(t *testing.T) {
	program, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("zstd is not installed")
	}
	for name, content := range contents() {
		cmd := exec.CommandContext(t.Context(), program, "-dqc", "--memory=128MB")
		cmd.Stdin = bytes.NewReader(pack(t, content, Options{}, 1<<30))
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: zstd gives %d bytes, want %d: %v", name, len(got), len(content), err)
		}
	}
}

// TestFarBack: what is repeated within the window costs next to nothing, and
// what is beyond it is not referred to.
func TestFarBack(t *testing.T) {
	piece := noise(1, 1<<20)
	content := bytes.Join([][]byte{piece, noise(2, 6<<20), piece}, nil)
	if n := len(pack(t, content, Options{Window: 8 << 20}, 1<<20)); n > 7<<20+20_000 {
		t.Errorf("with a window of 8 MiB: %d bytes", n)
	}
	if n := len(pack(t, content, Options{Window: 4 << 20}, 1<<20)); n < 8<<20 {
		t.Errorf("with a window of 4 MiB: %d bytes", n)
	}
}

// TestWindowToTheByte: what is exactly one window back is referred to, what is
// one byte farther is not.
func TestWindowToTheByte(t *testing.T) {
	const window = 1 << 20
	for back, most := range map[int]int{window - 1: 1 << 10, window: 1 << 10, window + 1: 501_000} {
		piece := noise(1, 500_000)
		content := bytes.Join([][]byte{piece, noise(2, back-len(piece)), piece}, nil)
		frame := pack(t, content, Options{Window: window}, 1<<30)
		if n := len(frame) - back; n > most || most > 1<<10 && n < 500_000 {
			t.Errorf("%d bytes back: %d bytes", back, n)
		}
		if !bytes.Equal(unpack(t, frame), content) {
			t.Errorf("%d bytes back: other content", back)
		}
	}
}

// TestThirdTime: what was a repetition itself is referred to as well.
func TestThirdTime(t *testing.T) {
	const window = 2 << 20
	for _, gap := range []int{600_000, 900_000, 1_100_000, 1_500_000, window} { // the second one is passed over, or entered
		piece := noise(1, 500_000)
		content := piece
		for i := range uint64(2) {
			content = slices.Concat(content, noise(2+i, gap-len(piece)), piece)
		}
		frame := pack(t, content, Options{Window: window}, 1<<30)
		if n := len(frame) - 2*gap + len(piece); n > 502_000 {
			t.Errorf("after %d bytes: %d bytes, want little more than %d", gap, n, len(piece))
		}
		if !bytes.Equal(unpack(t, frame), content) {
			t.Errorf("after %d bytes: other content", gap)
		}
	}
}

// TestSlide compresses more than the buffer holds.
func TestSlide(t *testing.T) {
	piece := code(9, 1<<20)
	var content []byte
	for i := range 14 {
		content = append(append(content, piece...), noise(uint64(i), 200_000)...)
	}
	frame := pack(t, content, Options{Window: 2 << 20}, 77_777)
	if !bytes.Equal(unpack(t, frame), content) {
		t.Error("other content")
	}
	if len(frame) > len(content)/3 {
		t.Errorf("%d bytes of %d", len(frame), len(content))
	}
}

func TestOptionsAndErrors(t *testing.T) {
	for _, opt := range []Options{{Window: -1}, {Window: MaxWindow + 1}, {Size: -1}, {About: -1}} {
		if _, err := NewWriter(io.Discard, opt); err == nil {
			t.Errorf("%+v: no error", opt)
		}
	}
	for _, n := range []int{9, 11} {
		z, _ := NewWriter(io.Discard, Options{Size: 10})
		_, err := z.Write(make([]byte, n))
		if err = errors.Join(err, z.Close()); err == nil {
			t.Errorf("%d bytes instead of 10: no error", n)
		}
	}
	z, _ := NewWriter(io.Discard, Options{})
	if err := errors.Join(z.Close(), z.Close()); err != nil {
		t.Error(err)
	}
	if _, err := z.Write([]byte{1}); err == nil {
		t.Error("write after close: no error")
	}
	full := errors.New("full")
	z, _ = NewWriter(failing{full}, Options{})
	_, err := z.Write(make([]byte, 3*step))
	if !errors.Is(err, full) || !errors.Is(z.Close(), full) {
		t.Errorf("the writer's error: %v", err)
	}
}

// TestCopyN: it makes no difference for the frame how the bytes come.
func TestCopyN(t *testing.T) {
	content := code(4, 3*step+100)
	for _, opt := range []Options{{}, {Window: step, Size: int64(len(content))}} {
		var out bytes.Buffer
		z, err := NewWriter(&out, opt)
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(content)
		for _, n := range []int64{0, 1, step - 2, step, 7, int64(len(content) - 2*step - 6)} {
			if err := z.CopyN(iotest.OneByteReader(r), n); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), pack(t, content, opt, 1<<30)) {
			t.Errorf("%+v: another frame", opt)
		}
	}
}

func TestCopyNErrors(t *testing.T) {
	broken := errors.New("broken")
	z, _ := NewWriter(io.Discard, Options{Size: 10})
	if err := z.CopyN(strings.NewReader("12"), 3); err != io.ErrUnexpectedEOF {
		t.Errorf("a byte is missing: %v", err)
	}
	if err := z.CopyN(strings.NewReader(""), 1); err != io.ErrUnexpectedEOF {
		t.Errorf("nothing is there: %v", err)
	}
	if err := z.CopyN(iotest.ErrReader(broken), 3); err != broken {
		t.Errorf("the reader's error: %v", err)
	}
	if err := z.CopyN(strings.NewReader(strings.Repeat("1", 9)), 9); err == nil {
		t.Error("more than was announced: no error")
	}
	full := errors.New("full")
	z, _ = NewWriter(failing{full}, Options{})
	if err := z.CopyN(bytes.NewReader(make([]byte, step)), step); !errors.Is(err, full) {
		t.Errorf("the writer's error: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func FuzzRoundTrip(f *testing.F) {
	for _, content := range contents() {
		if len(content) < 20_000 {
			f.Add(content, uint32(3), uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, seed []byte, at uint32, times uint8) {
		// Repetitions of the seed at distances that the fuzzer chooses.
		content := bytes.Clone(seed)
		for i := range int(times % 32) {
			if len(content) == 0 || len(content) > 1<<20 {
				break
			}
			from := int(at) * (i + 1) % len(content)
			content = append(content, content[from:min(len(content), from+int(at>>3)%5000+1)]...)
			content = append(content, seed[:min(len(seed), i)]...)
		}
		if !bytes.Equal(unpack(t, pack(t, content, Options{Size: int64(len(content))}, 1<<30)), content) {
			t.Error("other content")
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	content := contents()["a program twice"]
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		b.ReportMetric(float64(len(pack(b, content, Options{}, 1<<20))), "bytes")
	}
}

// patched is an underlying writer whose head can be replaced.
type patched struct{ bytes.Buffer }

func (p *patched) PatchHead(head []byte) error {
	copy(p.Bytes(), head)
	return nil
}

// TestUnknownSize: the frame is that of the known size, whatever was guessed.
func TestUnknownSize(t *testing.T) {
	all := contents()
	long := code(3, 3*step+100)
	for _, n := range []int{1, 1023, 1024, 1025, maxBlock - 1, maxBlock, maxBlock + 1, step - 1, step, step + 1, 2 * step, 3*step + 100} {
		all[fmt.Sprint(n, " bytes")] = long[:n]
	}
	// What is found half a window back is as far as the window that was asked
	// for says, however little of it is used.
	again := noise(5, 2*step)
	all["far"] = slices.Concat(again, noise(6, 6*step), again, again[300_000:])
	for name, content := range all {
		if len(content) == 0 {
			continue // 0 means unknown
		}
		want := pack(t, content, Options{Size: int64(len(content))}, 1<<30)
		for _, about := range []int{0, 1, len(content) / 2, len(content), 3 * len(content)} {
			var out patched
			z, err := NewWriter(&out, Options{About: int64(about)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := z.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("%s, about %d: another frame than with the size", name, about)
			}
		}
	}
}

// TestPatchFails: an error of the underlying writer is the Writer's.
func TestPatchFails(t *testing.T) {
	z, _ := NewWriter(unpatchable{}, Options{})
	_, err := z.Write(make([]byte, 2*step))
	if err == nil {
		err = z.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "no patch") {
		t.Errorf("%v", err)
	}
}

type unpatchable struct{}

func (unpatchable) Write(p []byte) (int, error) { return len(p), nil }
func (unpatchable) PatchHead([]byte) error      { return errors.New("no patch") }
