package initramfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"hooksmith/build/rootfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden keeps the exact bytes of the plain archive of the sample: a
// change of them changes every hash that users have noted.
func TestGolden(t *testing.T) {
	data, _ := write(t, Segment{Name: "sample", Tree: sample(t), Compression: None, Epoch: time.Unix(1690000000, 0)})
	golden := filepath.Join("testdata", "sample.cpio")
	if *update {
		if err := os.WriteFile(golden, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden+".txt", []byte(list(t, data)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(data, readFile(t, golden)) {
		t.Errorf("the bytes differ from %s; run go test -update and read the difference of its .txt", golden)
	}
	if got := list(t, data); got != string(readFile(t, golden+".txt")) {
		t.Errorf("got:\n%s", got)
	}
}

// TestWriteInfo checks offsets, sizes, hashes, padding and progress.
func TestWriteInfo(t *testing.T) {
	tree := sample(t)
	segments := []Segment{
		{Name: "early", Tree: treeOf(t, files{"kernel/x": file(0o644, "microcode")}), Compression: None},
		{Name: "base", Tree: tree},
		{Name: "modules", Tree: treeOf(t, files{"usr/lib/modules/a": file(0o644, "aaa")}), Compression: Gzip},
		{Name: "raw", Tree: treeOf(t, files{"usr/lib/b": file(0o644, "b")}), Compression: None},
		{Name: "empty", Tree: treeOf(t, nil), Compression: Zstd, Level: 1},
	}
	var out bytes.Buffer
	var mu sync.Mutex
	var progress int64
	infos, err := Write(t.Context(), &out, segments, Options{TempDir: t.TempDir(), Progress: func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		progress += n
	}})
	if err != nil {
		t.Fatal(err)
	}
	var end, unpacked int64
	for i, info := range infos {
		between := out.Bytes()[end:info.Offset]
		sum := sha256.Sum256(out.Bytes()[info.Offset : info.Offset+info.Size])
		switch {
		case info.Name != segments[i].Name:
			t.Errorf("segment %d is called %q", i, info.Name)
		case info.Offset%4 != 0 || len(between) > 3 || strings.Trim(string(between), "\x00") != "":
			t.Errorf("%s begins at %d after %q", info.Name, info.Offset, between)
		case info.SHA256 != hex.EncodeToString(sum[:]):
			t.Errorf("%s: wrong hash", info.Name)
		case info.Unpacked%512 != 0:
			t.Errorf("%s: %d bytes are not a multiple of 512", info.Name, info.Unpacked)
		case segments[i].Compression == None && info.Size != info.Unpacked:
			t.Errorf("%s: %d bytes of %d", info.Name, info.Size, info.Unpacked)
		}
		end, unpacked = info.Offset+info.Size, unpacked+info.Unpacked
	}
	if out.Len()%4 != 0 || int64(out.Len())-end > 3 {
		t.Errorf("the file ends at %d, its last segment at %d", out.Len(), end)
	}
	want, err := UnpackedSize(segments)
	if err != nil || want != unpacked || progress != unpacked {
		t.Errorf("unpacked %d, foreseen %d (%v), progress %d", unpacked, want, err, progress)
	}
	// early: the root is left to base; base: the root, its paths; modules and raw: implied directories are left to base
	for i, want := range []int{2, tree.Len() + 1, 2, 1, 0} {
		if infos[i].Entries != want {
			t.Errorf("%s: %d entries, want %d", infos[i].Name, infos[i].Entries, want)
		}
	}
	listing := list(t, out.Bytes())
	for _, line := range []string{
		"0 none 040755 0:0 ino=1 links=2 t=0 kernel\n",
		"1 zstd 040755 0:0 ino=1 links=2 t=1600000000 .\n",
		"2 gzip 040755 0:0 ino=1 links=2 t=0 usr/lib/modules\n",
		"3 none 100644 0:0 ino=1 links=1 t=1700000000 usr/lib/b \"b\"\n",
	} {
		if !strings.Contains(listing, line) {
			t.Errorf("no line %q in\n%s", line, listing)
		}
	}
}

// TestHardLinks: data at the first name only, one number, the right count.
func TestHardLinks(t *testing.T) {
	data, _ := write(t, Segment{Tree: sample(t), Compression: None})
	var got []string
	for line := range strings.Lines(list(t, data)) {
		if strings.Contains(line, "links=3") {
			got = append(got, strings.TrimSpace(line[strings.Index(line, "ino="):]))
		}
	}
	want := []string{
		"ino=3 links=3 t=1700000000 bin/busybox 8000 bytes",
		`ino=3 links=3 t=1700000000 bin/sh ""`,
		`ino=3 links=3 t=1700000000 sbin/init ""`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
}

func TestEpoch(t *testing.T) {
	at := func(when time.Time) *rootfs.Inode {
		n := file(0o644, "")
		n.ModTime = when
		return n
	}
	tree := treeOf(t, files{
		"before": at(time.Unix(1000, 999999999)), "after": at(time.Unix(3000, 0)), "negative": at(time.Unix(-5, 0)),
		"zero": at(time.Time{}), "far": at(time.Unix(1<<40, 0)), "last": at(time.Unix(1<<32-1, 0)),
	})
	for _, tc := range []struct {
		epoch time.Time
		want  map[string]int64
	}{
		{time.Time{}, map[string]int64{"before": 1000, "after": 3000, "negative": 0, "zero": 0, "far": 1<<32 - 1, "last": 1<<32 - 1}},
		{time.Unix(2000, 0), map[string]int64{"before": 1000, "after": 2000, "negative": 0, "zero": 0, "far": 2000, "last": 2000}},
		{time.Unix(0, 0), map[string]int64{"before": 0, "after": 0, "negative": 0, "zero": 0, "far": 0, "last": 0}},
	} {
		data, _ := write(t, Segment{Tree: tree, Epoch: tc.epoch})
		err := Read(bytes.NewReader(data), Limits{}, func(e Entry, _ io.Reader) error {
			if want, ok := tc.want[e.Name]; ok && e.ModTime.Unix() != want {
				t.Errorf("epoch %v: %s is %d, want %d", tc.epoch, e.Name, e.ModTime.Unix(), want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestOverlap: what the kernel gets right is written.
func TestOverlap(t *testing.T) {
	data, _ := write(t,
		Segment{Name: "base", Compression: None, Tree: treeOf(t, files{
			"etc": node(rootfs.ModeDir | 0o700), "etc/a": file(0o644, "1"), "old": symlink("x"), "empty": node(rootfs.ModeDir | 0o755),
			"null": device(rootfs.ModeChar, 1, 3)})},
		Segment{Name: "top", Tree: treeOf(t, files{
			"etc/a": file(0o600, "2"), "etc/b": file(0o644, "3"), "old/x": file(0o644, "4"), "old": node(rootfs.ModeDir | 0o711),
			"empty": file(0o644, "5"), "null": device(rootfs.ModeChar, 1, 3)})})
	want := map[string]string{
		".": "40755 0:0 0:0 ", "etc": "40700 0:0 0:0 ", "etc/a": "100600 0:0 0:0 2", "etc/b": "100644 0:0 0:0 3",
		"old": "40711 0:0 0:0 ", "old/x": "100644 0:0 0:0 4", "empty": "100644 0:0 0:0 5", "null": "20000 0:0 1:3 ",
	}
	got := unpack(t, data)
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %q, want %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %q", got)
	}
}

// TestSplit: segments that Keep cuts from a tree unpack to that tree.
func TestSplit(t *testing.T) {
	tree := sample(t)
	whole, _ := write(t, Segment{Tree: tree, Compression: None})
	inUsr := func(p string, _ *rootfs.Inode) bool {
		return strings.HasPrefix(p, "usr/") || strings.HasPrefix(p, "dev/")
	}
	split, _ := write(t,
		Segment{Name: "rest", Tree: tree.Keep(func(p string, n *rootfs.Inode) bool { return !inUsr(p, n) })},
		Segment{Name: "usr", Tree: tree.Keep(inUsr), Compression: Gzip})
	got, want := unpack(t, split), unpack(t, whole)
	if len(got) != len(want) {
		t.Errorf("%d paths, want %d", len(got), len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %q, want %q", name, got[name], want[name])
		}
	}
}

// TestSameBytes: the processors, the folder and the run do not show. Contents
// are larger than a job of the encoder.
func TestSameBytes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	text := pseudoText(9 << 20)
	for _, tc := range []struct {
		kind  Compression
		level int
		size  int
	}{{Zstd, 1, 9 << 20}, {Zstd, 0, 5 << 20}, {Zstd, 12, 5 << 20}, {Zstd, 20, 1 << 20}, {Gzip, 1, 5 << 20}, {None, 0, 1 << 20}} {
		tree := treeOf(t, files{"big": file(0o644, text[:tc.size]), "a": file(0o644, text[:1000]), "b": file(0o644, "x")})
		var first []byte
		for _, procs := range []int{1, 2, 7} {
			if raceDetector && procs == 2 {
				continue
			}
			runtime.GOMAXPROCS(procs)
			data, _ := write(t, Segment{Tree: tree, Compression: tc.kind, Level: tc.level}, Segment{Tree: sample(t), Compression: tc.kind, Level: tc.level})
			if first == nil {
				first = data
			}
			if !bytes.Equal(data, first) {
				t.Errorf("%s %d: other bytes on %d processors", tc.kind, tc.level, procs)
			}
		}
	}
}

// pseudoText makes content that compresses about as programs do.
func pseudoText(n int) string {
	b := make([]byte, 0, n+64)
	state := uint64(n)
	for len(b) < n {
		state = state*6364136223846793005 + 1442695040888963407
		if k := int(state>>40) % 100000; state>>62 != 0 && k < len(b)-64 {
			b = append(b, b[len(b)-k-64:][:16+state>>59]...)
		} else {
			b = fmt.Appendf(b, "%x", state)
		}
	}
	return string(b[:n])
}

func TestLast(t *testing.T) {
	tree, err := rootfs.New(map[string]*rootfs.Inode{
		"containers/a/big": rootfs.NewFile(0o644, []byte("big")),
		"init":             rootfs.NewFile(0o755, []byte("init")),
		"usr/bin/sh":       rootfs.NewFile(0o755, []byte("sh")),
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	seg := Segment{Name: "base", Tree: tree, Compression: None, Last: func(p string) bool { return strings.HasPrefix(p, "containers") }}
	if _, err := Write(t.Context(), &b, []Segment{seg}, Options{TempDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := Read(&b, Limits{}, func(e Entry, _ io.Reader) error { names = append(names, e.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(names, " "), ". init usr usr/bin usr/bin/sh containers containers/a containers/a/big"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

// TestWindow: the kernel allocates a frame's window while it unpacks, however
// short the content is, so it is hardly longer than that.
func TestWindow(t *testing.T) {
	tree := treeOf(t, files{"f": file(0o644, strings.Repeat("content of five MiB\n", 5<<20/20))})
	for level := 1; level <= maxLevel[Zstd]; level++ {
		if raceDetector && level%7 != 1 {
			continue // no goroutines of ours, and ten times slower
		}
		data, infos := write(t, Segment{Name: "s", Tree: tree, Level: level})
		var h zstd.Header
		if err := h.Decode(data); err != nil {
			t.Fatal(err)
		}
		if got, most := h.WindowSize, uint64(2*infos[0].Unpacked); got > most {
			t.Errorf("level %d: a window of %d bytes for %d", level, got, infos[0].Unpacked)
		}
	}
}
