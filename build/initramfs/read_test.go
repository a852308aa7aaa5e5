package initramfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"hooksmith/build/rootfs"
)

// archive returns a plain archive of one file.
func archive(t testing.TB, name, body string) []byte {
	t.Helper()
	data, _ := write(t, Segment{Tree: treeOf(t, files{name: file(0o644, body)}), Compression: None})
	return data
}

// TestReadMixed reads segments that the usual tools compress, in every order
// and with what the kernel accepts between them (tested there on Linux 6.12).
func TestReadMixed(t *testing.T) {
	compressors := map[string][]string{
		"raw":        nil,
		"gzip":       {"gzip", "-9", "-c"},
		"zstd":       {"zstd", "-q", "-19", "-c"},
		"zstd-check": {"zstd", "-q", "--check", "-c"},
		"zstd-long":  {"zstd", "-q", "--long=27", "-c"},
		"xz":         {"xz", "--check=crc32", "-c"},
		"xz-none":    {"xz", "--check=none", "-c"},
	}
	var names []string
	segments := make(map[string][]byte)
	for name, args := range compressors {
		data := archive(t, name, strings.Repeat(name, 3000))
		if args != nil {
			data = run(t, "", data, args...)
		}
		names, segments[name] = append(names, name), data
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	rounds := 60
	if raceDetector {
		rounds = 6 // nothing here runs beside anything
	}
	for range rounds {
		rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		var image []byte
		for _, name := range names {
			image = append(image, make([]byte, rnd.IntN(9))...)
			if name == "raw" {
				image = append(image, make([]byte, -len(image)&3)...)
			}
			image = append(image, segments[name]...)
		}
		var got []string
		err := Read(iotest.HalfReader(bytes.NewReader(image)), Limits{}, func(e Entry, r io.Reader) error {
			if e.Name == "." {
				return nil
			}
			body, err := io.ReadAll(r)
			if string(body) != strings.Repeat(e.Name, 3000) {
				t.Errorf("%s: wrong content", e.Name)
			}
			if !bytes.HasPrefix(image[e.Offset:], segments[e.Name]) || e.Segment != len(got) {
				t.Errorf("%s: segment %d at %d", e.Name, e.Segment, e.Offset)
			}
			got = append(got, e.Name)
			return err
		})
		if err != nil || strings.Join(got, " ") != strings.Join(names, " ") {
			t.Fatalf("%q: got %q, %v", names, got, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	raw := archive(t, "a", strings.Repeat("abc", 1000))
	zstd := func(b []byte) []byte { return run(t, "", b, "zstd", "-q", "-c") }
	gzip := func(b []byte) []byte { return run(t, "", b, "gzip", "-c") }
	edit := func(at int, text string) []byte {
		b := bytes.Clone(raw)
		copy(b[at:], text)
		return b
	}
	skippable := append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00"), "skip"...)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tc := range []struct {
		name string
		data []byte
		want []string
	}{
		{"garbage", []byte("garbage"), []string{"offset 0", "neither"}},
		{"garbage after a segment", join(raw, []byte("\x01garbage")), []string{fmt.Sprintf("offset %d", len(raw)), "segment 1"}},
		{"unaligned plain archive", join([]byte{0}, raw), []string{"offset 1", "multiple of 4"}},
		{"unaligned after a trailer", join(raw, []byte{0, 0}, raw), []string{fmt.Sprintf("offset %d", len(raw)+2), "multiple of 4"}},
		{"skippable frame", join(skippable, zstd(raw)), []string{"offset 0", "neither"}},
		{"split over two frames", join(zstd(raw[:700]), zstd(raw[700:])), []string{"segment 0", `"a"`, "unexpected EOF"}},
		{"split over two members", join(gzip(raw[:700]), gzip(raw[700:])), []string{"segment 0", `"a"`, "unexpected EOF"}},
		{"garbage within zstd", zstd(join(raw, []byte("garbage!"))), []string{"segment 0", `"a"`, "neither", "070701"}},
		{"unaligned within gzip", gzip(join(raw, []byte{0}, raw)), []string{"multiple of 4"}},
		{"empty gzip is fine, then garbage", join(gzip(nil), []byte("x")), []string{"segment 1"}},
		{"crc64", run(t, "", raw, "xz", "--check=crc64", "-c"), []string{"xz", "crc32"}},
		{"lz4", []byte("\x02\x21\x4c\x18...."), []string{"lz4", "not supported"}},
		{"lzma", run(t, "", raw, "xz", "--format=lzma", "-c"), []string{"lzma", "not supported"}},
		{"window of 256 MiB", []byte("\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00"), []string{"zstd", "window"}},
		{"damaged zstd", append(zstd(raw)[:60], make([]byte, 200)...), []string{"zstd"}},
		{"truncated zstd", zstd(raw)[:60], []string{"zstd", "unexpected EOF"}},
		{"truncated gzip", gzip(raw)[:60], []string{"gzip", "unexpected EOF"}},
		{"only a magic", []byte("\x28\xb5\x2f\xfd"), []string{"zstd", "unexpected EOF"}},
		{"checksums", edit(0, "070702"), []string{"070702", "newc"}},
		{"odc", edit(0, "070707"), []string{"070707"}},
		{"letters", edit(6, "0000000g"), []string{"0000000g"}},
		{"name of no bytes", edit(94, "00000001"), []string{"name", "1 bytes"}},
		{"name too long", edit(94, "00001001"), []string{"name", "4097 bytes"}},
		{"name without NUL", edit(111, "x"), []string{"NUL"}},
		{"directory with content", edit(54, "00000001"), []string{"content", "mode 40755"}},
		{"symlink without target", edit(14, "0000a1ff"), []string{"target", "0 bytes"}},
		{"truncated header", raw[:50], []string{"byte 0", "unexpected EOF"}},
		{"truncated name", raw[:111], []string{"byte 0", "unexpected EOF"}},
		{"truncated content", raw[:1000], []string{`"a"`, "unexpected EOF"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Read(bytes.NewReader(tc.data), Limits{}, func(Entry, io.Reader) error { return nil })
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tc.want {
				if part != "neither" && !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// TestReadLimits: a small file must not unpack without end.
func TestReadLimits(t *testing.T) {
	zero := treeOf(t, files{"zero": file(0o644, strings.Repeat("\x00", 64<<20)), "one": file(0o644, "1")})
	for _, kind := range []Compression{Zstd, Gzip, None} {
		data, _ := write(t, Segment{Tree: zero, Compression: kind})
		for _, tc := range []struct {
			limits Limits
			want   error
		}{
			{Limits{}, nil},
			{Limits{Unpacked: 65 << 20}, nil},
			{Limits{Unpacked: 10 << 20}, errTooLarge},
			{Limits{Entries: 3}, nil},
		} {
			err := Read(bytes.NewReader(data), tc.limits, func(Entry, io.Reader) error { return nil })
			if !errors.Is(err, tc.want) {
				t.Errorf("%s %+v: %v", kind, tc.limits, err)
			}
		}
		if err := Read(bytes.NewReader(data), Limits{Entries: 2}, func(Entry, io.Reader) error { return nil }); err == nil {
			t.Errorf("%s: more entries than allowed", kind)
		}
	}
}

func TestReadStops(t *testing.T) {
	data, _ := write(t, Segment{Tree: sample(t)}, Segment{Tree: sample(t).Place("x"), Compression: Gzip})
	mine := errors.New("mine")
	seen := 0
	err := Read(bytes.NewReader(data), Limits{}, func(e Entry, r io.Reader) error {
		seen++
		if e.Name == "etc/one" {
			return mine
		}
		return nil
	})
	if err != mine || seen == 0 {
		t.Errorf("got %v after %d", err, seen)
	}
	if err := Read(iotest.ErrReader(mine), Limits{}, nil); !errors.Is(err, mine) {
		t.Errorf("a failing file: %v", err)
	}
	if err := Read(bytes.NewReader(nil), Limits{}, nil); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

// TestReadAnother: an archive of GNU cpio, data on the last of hard links.
func TestReadAnother(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string]string{"a": "same", "d/x": "x"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(body), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	data := run(t, dir, []byte(".\na\nb\nd\nd/x\nl\n"), "cpio", "-o", "-H", "newc", "--quiet")
	got := unpack(t, data)
	owner := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	for name, want := range map[string]string{
		"a": "100640 " + owner + " 0:0 same", "b": "100640 " + owner + " 0:0 same",
		"d/x": "100640 " + owner + " 0:0 x", "l": "120777 " + owner + " 0:0 a",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

// TestUnpackByCpio lets Debian's tools unpack what Write wrote and compares
// the files with the tree.
func TestUnpackByCpio(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making devices and owners needs root")
	}
	tree := sample(t)
	for kind, args := range map[Compression][]string{
		Zstd: {"zstd", "-q", "-d", "-c"}, Gzip: {"gzip", "-d", "-c"}, None: {"cat"},
	} {
		data, infos := write(t, Segment{Tree: tree, Compression: kind})
		plain := run(t, "", data[:infos[0].Size], args...)
		if int64(len(plain)) != infos[0].Unpacked {
			t.Errorf("%s: %d bytes, want %d", kind, len(plain), infos[0].Unpacked)
		}
		names := strings.Fields(strings.ReplaceAll(string(run(t, "", plain, "cpio", "-it", "--quiet")), " ", "_"))
		want := append([]string{"."}, tree.Paths()...)
		if len(names) != len(want) {
			t.Errorf("%s: %d names, want %d", kind, len(names), len(want))
		}
		dir := t.TempDir()
		run(t, dir, plain, "cpio", "-id", "--quiet")
		compareDir(t, tree, dir)
	}
}

// compareDir compares a folder with a tree.
func compareDir(t *testing.T, tree *rootfs.Tree, dir string) {
	t.Helper()
	inodes := make(map[*rootfs.Inode]uint64)
	err := tree.Walk(func(name string, n *rootfs.Inode) error {
		p := filepath.Join(dir, name)
		var st syscall.Stat_t
		if err := syscall.Lstat(p, &st); err != nil {
			return err
		}
		if st.Mode != n.Mode || int(st.Uid) != n.UID || int(st.Gid) != n.GID {
			t.Errorf("%s: mode %o owner %d:%d, want %o %d:%d", name, st.Mode, st.Uid, st.Gid, n.Mode, n.UID, n.GID)
		}
		switch n.Type() {
		case rootfs.ModeFile:
			want, err := io.ReadAll(n.Open())
			if got := readFile(t, p); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: content %.30q", name, got)
			}
			if old, ok := inodes[n]; ok && old != st.Ino {
				t.Errorf("%s is not a hard link", name)
			}
			inodes[n] = st.Ino
		case rootfs.ModeLink:
			if target, err := os.Readlink(p); target != n.Target {
				t.Errorf("%s -> %s, %v", name, target, err)
			}
		case rootfs.ModeBlock, rootfs.ModeChar:
			major := uint32(st.Rdev>>8&0xfff) | uint32(st.Rdev>>32)&^0xfff
			minor := uint32(st.Rdev&0xff) | uint32(st.Rdev>>12)&^0xff
			if major != n.Major || minor != n.Minor {
				t.Errorf("%s: device %d:%d, want %d:%d", name, major, minor, n.Major, n.Minor)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	_ = filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { count++; return nil })
	if count != tree.Len()+1 {
		t.Errorf("%d files, want %d", count, tree.Len()+1)
	}
}

// TestLongNames: paths as long as the kernel takes.
func TestLongNames(t *testing.T) {
	f := files{}
	for _, n := range []int{3999, 4000, 4094, 4095} {
		name := strings.Repeat(strings.Repeat("n", 199)+"/", 19) + strings.Repeat("m", 189) + "/"
		f[name+strings.Repeat("x", n-len(name))] = file(0o644, fmt.Sprint(n))
	}
	f["link"] = symlink(strings.Repeat("t", 4095))
	tree := treeOf(t, f)
	data, _ := write(t, Segment{Tree: tree})
	names := 0
	err := Read(bytes.NewReader(data), Limits{}, func(e Entry, r io.Reader) error {
		if n := tree.Lookup(e.Name); n == nil || n.Target != e.Target {
			t.Errorf("%.20q of %d bytes is not in the tree", e.Name, len(e.Name))
		}
		names++
		return nil
	})
	if err != nil || names != tree.Len()+1 {
		t.Errorf("%d names, %v", names, err)
	}
}

// FuzzRead: any bytes are an error or records within limits.
func FuzzRead(f *testing.F) {
	small := treeOf(f, files{"a": file(0o644, "1"), "dev/x": device(rootfs.ModeChar, 1, 3), "l": symlink("a")})
	for _, kind := range []Compression{Zstd, Gzip, None} {
		data, _ := write(f, Segment{Tree: small, Compression: kind})
		f.Add(data)
	}
	f.Add([]byte("\xfd7zXZ\x00\x00\x01\x69\x22\xde\x36"))
	f.Add(binary.LittleEndian.AppendUint32([]byte("\x28\xb5\x2f\xfd\x00\x58"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		limits := Limits{Unpacked: 1 << 20, Entries: 1000}
		total := int64(0)
		_ = Read(bytes.NewReader(data), limits, func(e Entry, r io.Reader) error {
			n, _ := io.Copy(io.Discard, r)
			if total += n; total > limits.Unpacked {
				t.Errorf("%d bytes of content", total)
			}
			if len(e.Name) > maxName || len(e.Target) > maxName {
				t.Error("a name too long")
			}
			return nil
		})
	})
}

// FuzzRoundTrip: whatever tree the fuzzer makes is read back as it is.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("a\x00b/c\x00d"), uint32(0o755), uint32(1), int64(5))
	f.Fuzz(func(t *testing.T, names []byte, mode, number uint32, when int64) {
		tree, err := rootfs.New(fuzzFiles(names, mode, number, when))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if _, err := Write(t.Context(), &out, []Segment{{Tree: tree, Compression: None}}, Options{TempDir: t.TempDir()}); err != nil {
			return
		}
		count := 0
		err = Read(bytes.NewReader(out.Bytes()), Limits{}, func(e Entry, r io.Reader) error {
			count++
			n := tree.Lookup(e.Name)
			if n == nil || n.Mode != e.Mode || n.UID != int(e.UID) || n.Target != e.Target || n.Major != e.Major || n.Minor != e.Minor {
				t.Errorf("%q: %+v, want %+v", e.Name, e, n)
			}
			return nil
		})
		if err != nil || count != tree.Len()+1 {
			t.Errorf("%d records, want %d: %v", count, tree.Len()+1, err)
		}
	})
}

// fuzzFiles makes one file per NUL-terminated name, of a type by its length.
func fuzzFiles(names []byte, mode, number uint32, when int64) files {
	f := files{}
	for i, name := range strings.Split(string(names), "\x00") {
		n := file(mode, strings.Repeat("x", i))
		switch (len(name) + i) % 4 {
		case 1:
			n = symlink(name + "x")
		case 2:
			n = device(rootfs.ModeBlock|mode&0o7777, number>>20, number&(1<<20-1))
		case 3:
			n = node(rootfs.ModeDir | mode&0o7777)
		}
		n.UID = int(number)
		n.ModTime = n.ModTime.AddDate(0, 0, int(when%1e6))
		f[name] = n
	}
	return f
}
