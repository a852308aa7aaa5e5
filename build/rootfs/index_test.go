package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// countingReaderAt counts reads, and is what a layer file on disk is.
type countingReaderAt struct {
	data  []byte
	calls atomic.Int64
	bytes atomic.Int64
}

func (r *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	r.calls.Add(1)
	if off >= int64(len(r.data)) {
		return 0, io.EOF
	}
	n := copy(p, r.data[off:])
	r.bytes.Add(int64(n))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestIndexKeepsEverything(t *testing.T) {
	long := strings.Repeat("d23456789/", 399) + "f23456789" // 3,999 bytes
	when := time.Unix(1600000000, 123456789)
	su := file("usr/bin/su", "x")
	su.hdr.Mode, su.hdr.Uid, su.hdr.Gid, su.hdr.ModTime = 0o4755, 1<<21, 42, when
	su.hdr.Format = tar.FormatPAX
	su.hdr.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20",
		"SCHILY.xattr.user.empty":          "",
		"SOME.comment":                     "not an attribute",
	}
	tree := flatten(t, []item{
		su, file(long, "deep"), file("etc/Zoë/日本語 \xff.txt", "non-ASCII"), symlink("s", long),
		device("sda", tar.TypeBlock, 8, 1), device("null", tar.TypeChar, 1, 3), device("wh", tar.TypeChar, 0, 0),
		device("big", tar.TypeBlock, 4095, 1048575), device("pipe", tar.TypeFifo, 0, 0)})
	n := tree.Lookup("usr/bin/su")
	if n.Mode != ModeFile|0o4755 || n.UID != 1<<21 || n.GID != 42 || !n.ModTime.Equal(when) || n.ModTime.Location() != time.UTC {
		t.Errorf("su: %+v", n)
	}
	if len(n.Xattrs) != 2 || n.Xattrs["security.capability"] != "\x01\x00\x00\x02\x00\x20" {
		t.Errorf("xattrs: %q", n.Xattrs)
	}
	if body, _ := io.ReadAll(tree.Lookup(long).Open()); string(body) != "deep" {
		t.Errorf("long: %q", body)
	}
	if tree.Lookup("etc/Zoë/日本語 \xff.txt") == nil || tree.Lookup("s").Target != long {
		t.Error("a name is lost")
	}
	for name, want := range map[string]Inode{
		"sda": {Mode: ModeBlock | 0o600, Major: 8, Minor: 1}, "null": {Mode: ModeChar | 0o600, Major: 1, Minor: 3},
		"wh": {Mode: ModeChar | 0o600}, "big": {Mode: ModeBlock | 0o600, Major: 4095, Minor: 1048575}, "pipe": {Mode: ModeFifo | 0o600},
	} {
		if n := tree.Lookup(name); n.Mode != want.Mode || n.Major != want.Major || n.Minor != want.Minor {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

// TestIndexSkipsContents: the tar is not read, only its headers.
func TestIndexSkipsContents(t *testing.T) {
	var items []item
	for i := range 20 {
		items = append(items, file(fmt.Sprint(i), strings.Repeat("x", 1<<20)))
	}
	r := &countingReaderAt{data: tarOf(t, items...)}
	l, err := Index(r, int64(len(r.data)))
	if err != nil || l.Len() != 20 {
		t.Fatalf("%v, %v", l, err)
	}
	if n := r.bytes.Load(); n > 42*cursorWindow {
		t.Errorf("read %d of %d bytes", n, len(r.data))
	}
}

// raw returns a ustar header block with fields written by hand.
func raw(name string, typeflag byte, size, mode, uid string, magic string) []byte {
	b := make([]byte, 512)
	copy(b[0:100], name)
	copy(b[100:108], mode)
	copy(b[108:116], uid)
	copy(b[116:124], "0000000\x00")
	copy(b[124:136], size)
	copy(b[136:148], "00000000000\x00")
	b[156] = typeflag
	copy(b[257:265], magic)
	copy(b[329:345], "0000000\x000000000\x00")
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func TestIndexRejects(t *testing.T) {
	const ustar, gnu = "ustar\x0000", "ustar  \x00"
	const mode, uid, zero = "0000644\x00", "0000000\x00", "00000000000\x00"
	pax := func(records string) []byte {
		body := make([]byte, 512)
		copy(body, records)
		return append(raw("pax", 'x', fmt.Sprintf("%011o\x00", len(records)), mode, uid, ustar), body...)
	}
	negative := "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"
	huge := "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"
	for _, tc := range []struct {
		name string
		tar  []byte
		want []string
	}{
		{"dot-dot", tarOf(t, file("a/../../etc/passwd", "")), []string{"a/../../etc/passwd", ".."}},
		{"only dot-dot", tarOf(t, dir("../", 0o755)), []string{`"../"`}},
		{"absolute", tarOf(t, file("/etc/passwd", "")), []string{"/etc/passwd", "absolute"}},
		{"empty name", raw("", '0', zero, mode, uid, ustar), []string{`""`, "empty"}},
		{"long component", tarOf(t, file(strings.Repeat("x", 256), "")), []string{"xxx", "255"}},
		{"long path", tarOf(t, file(strings.Repeat("d/", 2048)+"x", "")), []string{"d/d/", "4095"}},
		{"root is a file", tarOf(t, file(".", "")), []string{`"."`, "not a directory"}},
		{"whiteout of dot-dot", tarOf(t, file("a/.wh...", "")), []string{"a/.wh...", "hides no name"}},
		{"whiteout of dot", tarOf(t, file(".wh..", "")), []string{".wh.."}},
		{"whiteout of nothing", tarOf(t, file("a/.wh.", "")), []string{"a/.wh."}},
		{"below a whiteout", tarOf(t, file(".wh.a/b", "")), []string{".wh.a/b", "whiteouts"}},
		{"hard link outside", tarOf(t, file("a", ""), hardlink("b", "../../etc/shadow")), []string{`"b"`, "../../etc/shadow"}},
		{"hard link to no name", raw("b", '1', zero, mode, uid, ustar), []string{`"b"`, "empty"}},
		{"symlink to no name", raw("s", '2', zero, mode, uid, ustar), []string{`"s"`, "no target"}},
		{"symlink too long", tarOf(t, symlink("s", strings.Repeat("x", 4096))), []string{`"s"`, "4095"}},
		{"size beyond the tar", raw("big", '0', "77777777777\x00", mode, uid, ustar), []string{`"big"`, "8589934591", "truncated"}},
		{"insane size", raw("big", '0', huge, mode, uid, gnu), []string{`"big"`, "9223372036854775807"}},
		{"negative size", raw("neg", '0', negative, mode, uid, gnu), []string{"damaged"}},
		{"negative size in PAX", append(pax("11 size=-5\n"), raw("neg", '0', zero, mode, uid, ustar)...), []string{"damaged"}},
		{"negative owner", raw("neg", '0', zero, mode, "\xff\xff\xff\xff\xff\xff\xff\xfe", gnu), []string{`"neg"`, "owner -2:0"}},
		{"owner beyond 32 bits", append(pax("18 uid=4294967295\n"), raw("own", '0', zero, mode, uid, ustar)...), []string{`"own"`, "4294967295"}},
		{"NUL in a PAX path", append(pax("12 path=a\x00b\n"), raw("x", '0', zero, mode, uid, ustar)...), []string{"damaged"}},
		{"old GNU sparse", raw("sparse", 'S', zero, mode, uid, gnu), []string{`"sparse"`, "--sparse"}},
		{"PAX sparse", append(pax("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n24 GNU.sparse.name=real\n27 GNU.sparse.realsize=100\n"),
			append(raw("sparse", '0', "00000001000\x00", mode, uid, ustar), append([]byte("1\n0\n5\n"), make([]byte, 506)...)...)...), []string{"real", "--sparse"}},
		{"multi-volume", raw("vol", 'M', zero, mode, uid, gnu), []string{`"vol"`, `'M'`}},
		{"unknown type", raw("odd", 'Q', zero, mode, uid, ustar), []string{`"odd"`, `'Q'`}},
		{"not a tar", bytes.Repeat([]byte("no tar at all. "), 100), []string{"damaged", "byte 512"}},
		{"damaged second header", append(tarOf(t, file("first", "x"))[:1024], bytes.Repeat([]byte("x"), 1024)...), []string{"damaged", `"first"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Index(bytes.NewReader(tc.tar), int64(len(tc.tar)))
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestIndexLargeXattr(t *testing.T) {
	it := file("a", "")
	it.hdr.PAXRecords = map[string]string{"SCHILY.xattr.user.big": strings.Repeat("x", 70000)}
	data := tarOf(t, it)
	if _, err := Index(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "user.big") {
		t.Errorf("got %v", err)
	}
}

// TestIndexTruncated cuts a tar at every length. Only a cut between entries,
// and what is left of the two final blocks, may pass.
func TestIndexTruncated(t *testing.T) {
	data := tarOf(t, file("a", strings.Repeat("x", 700)), dir("d", 0o755), file("d/b", "1"))
	// header 512, content 700 padded to 1024, header 512, header 512, content padded to 512, end 1024
	ends := map[int]int{0: 0, 1536: 1, 2048: 2, 3072: 3}
	for size := range len(data) {
		l, err := Index(bytes.NewReader(data[:size]), int64(size))
		want, boundary := ends[size]
		switch {
		case size >= 2561: // the content of the last entry is complete
			if err != nil && size >= 3072 && (size-3072)%512 == 0 || err == nil && l.Len() != 3 {
				t.Errorf("%d bytes: %v", size, err)
			}
		case boundary:
			if err != nil || l.Len() != want {
				t.Errorf("%d bytes: %v", size, err)
			}
		case size >= 1212 && size < 1536: // within the padding of a
		case err == nil:
			t.Errorf("%d bytes: no error", size)
		case size > 512 && !strings.Contains(err.Error(), `entry "`):
			t.Errorf("%d bytes: %v names no entry", size, err)
		}
	}
}

func TestIndexShrunk(t *testing.T) {
	data := tarOf(t, file("a", strings.Repeat("x", 100000)), file("b", ""))
	_, err := Index(bytes.NewReader(data[:50000]), int64(len(data)))
	if err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("got %v", err)
	}
}
