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
	if err := l.Hash(f.Context()); err != nil {
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
	if err := l.Hash(t.Context()); err != nil {
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
