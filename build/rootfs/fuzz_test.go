package rootfs

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"reflect"
	"testing"
)

// FuzzIndex: any bytes are an error or a layer that flattens, reads and
// survives its own index.
func FuzzIndex(f *testing.F) {
	f.Add(tarOf(f, file("a", "1"), dir("d", 0o755), hardlink("d/b", "a"), symlink("s", "d"), file("d/.wh.x", "")))
	f.Add(tarOf(f, device("null", '3', 1, 3), file("d/.wh..wh..opq", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Index(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		index, err := l.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Load(bytes.NewReader(data), index)
		if err != nil {
			t.Fatal(err)
		}
		compareLayers(t, again, l)
		useLayer(t, l)
	})
}

// FuzzLoad: any index is an error or describes a layer that can be used.
func FuzzLoad(f *testing.F) {
	l := layerOf(f, file("a", "1"), dir("d", 0o755), hardlink("d/b", "a"), symlink("s", "d"), file("d/.wh.x", ""), device("null", '3', 1, 3))
	if err := l.Hash(f.Context(), 1<<20); err != nil {
		f.Fatal(err)
	}
	index, _ := l.MarshalBinary()
	f.Add(index[len(indexMagic) : len(index)-4])
	data := make([]byte, 1<<16)
	f.Fuzz(func(t *testing.T, body []byte) {
		index := append([]byte(indexMagic), body...)
		index = binary.LittleEndian.AppendUint32(index, crc32.Checksum(index, castagnoli))
		if l, err := Load(bytes.NewReader(data), index); err == nil {
			useLayer(t, l)
		}
	})
}

// useLayer does with a layer what a build does.
func useLayer(t *testing.T, l *Layer) {
	t.Helper()
	tree, err := Flatten(l, l)
	if err != nil {
		return
	}
	dump(t, tree)
	if tree, err = Merge(tree, tree.Place("x")); err != nil {
		return
	}
	if _, err := tree.Dedup(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func compareLayers(t *testing.T, got, want *Layer) {
	t.Helper()
	if got.size != want.size || len(got.entries) != len(want.entries) {
		t.Fatalf("%d entries in %d bytes, want %d in %d", len(got.entries), got.size, len(want.entries), want.size)
	}
	for i := range want.entries {
		g, w := got.entries[i], want.entries[i]
		if (g.inode.data == nil) != (w.inode.data == nil) {
			t.Errorf("entry %q: content lost or invented", w.path)
		}
		g.inode.data, w.inode.data = nil, nil
		if !reflect.DeepEqual(g, w) {
			t.Errorf("entry %q:\n got %+v\nwant %+v", w.path, g, w)
		}
	}
}

func TestMarshalLoad(t *testing.T) {
	su := file("usr/bin/su", "content")
	su.hdr.PAXRecords = map[string]string{"SCHILY.xattr.b": "2", "SCHILY.xattr.a": "\x00\xff", "SCHILY.xattr.c": ""}
	su.hdr.Uid = 1 << 31
	data := tarOf(t, su, dir(".", 0o755), hardlink("b", "usr/bin/su"), symlink("s", "/x"), file("d/.wh.x", ""),
		file("e/.wh..wh..opq", ""), file(".wh..wh..opq", ""), device("sda", '4', 8, 1), file("empty", ""), file("\xff", "x"))
	l, err := Index(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := l.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Hash(t.Context(), 1<<20); err != nil {
		t.Fatal(err)
	}
	hashed, err := l.MarshalBinary()
	if err != nil || bytes.Equal(plain, hashed) {
		t.Fatalf("hashes are not kept: %v", err)
	}
	r := &countingReaderAt{data: data}
	again, err := Load(r, hashed)
	if err != nil {
		t.Fatal(err)
	}
	compareLayers(t, again, l)
	tree, err := Flatten(again)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Dedup(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := r.calls.Load(); n != 1 {
		t.Errorf("%d reads of the layer, want the one probe", n)
	}
	if body, _ := io.ReadAll(tree.Lookup("b").Open()); string(body) != "content" {
		t.Errorf("content %q", body)
	}
	if _, ok := tree.Lookup("b").SHA256(); !ok {
		t.Error("the tree does not have the hash")
	}
	for i := range hashed {
		if _, err := Load(r, hashed[:i]); err == nil {
			t.Errorf("an index of %d bytes of %d loads", i, len(hashed))
		}
		damaged := bytes.Clone(hashed)
		damaged[i] ^= 0x10
		if _, err := Load(r, damaged); err == nil {
			t.Errorf("an index with byte %d changed loads", i)
		}
	}
	if _, err := Load(bytes.NewReader(data[:len(data)-1]), hashed); err == nil {
		t.Error("a truncated layer loads")
	}
}

// TestLoadChecks: an index whose checksum is right and whose content is not.
func TestLoadChecks(t *testing.T) {
	file := Inode{Mode: ModeFile | 0o644}
	at := func(off, size int64) Inode { n := file; n.off, n.Size = off, size; return n }
	for _, tc := range []struct {
		name string
		e    entry
	}{
		{"content beyond the tar", entry{path: "a", inode: at(900, 101)}},
		{"content far beyond the tar", entry{path: "a", inode: at(1<<62, 1<<62)}},
		{"path outside", entry{path: "../a", inode: file}},
		{"path not clean", entry{path: "a//b", inode: file}},
		{"hard link outside", entry{kind: kindLink, path: "a", link: "../b"}},
		{"whiteout outside", entry{kind: kindWhiteout, path: ".."}},
		{"kind", entry{kind: kindSkip, path: "a"}},
		{"owner", entry{path: "a", inode: Inode{Mode: ModeFile, UID: 1<<32 - 1}}},
		{"type", entry{path: "a", inode: Inode{Mode: 0o644}}},
		{"socket", entry{path: "a", inode: Inode{Mode: ModeSocket}}},
		{"mode", entry{path: "a", inode: Inode{Mode: ModeFile | 1<<20}}},
		{"directory with content", entry{path: "a", inode: Inode{Mode: ModeDir, Size: 1}}},
		{"file with target", entry{path: "a", inode: Inode{Mode: ModeFile, Target: "x"}}},
		{"link without target", entry{path: "a", inode: Inode{Mode: ModeLink}}},
		{"target with NUL", entry{path: "a", inode: Inode{Mode: ModeLink, Target: "x\x00"}}},
		{"root is a file", entry{path: ".", inode: file}},
		{"attribute", entry{path: "a", inode: Inode{Mode: ModeFile, Xattrs: map[string]string{"": "x"}}}},
	} {
		good := entry{path: "good", inode: at(900, 100)}
		l := &Layer{size: 1000, entries: []entry{good, tc.e}}
		index, err := l.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(bytes.NewReader(make([]byte, 1000)), index); err == nil {
			t.Errorf("%s: loads", tc.name)
		}
		l.entries = l.entries[:1]
		index, _ = l.MarshalBinary()
		if _, err := Load(bytes.NewReader(make([]byte, 1000)), index); err != nil {
			t.Error(err)
		}
	}
}
