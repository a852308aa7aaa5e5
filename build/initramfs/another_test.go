package initramfs

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/cavaliergopher/cpio"

	"hooksmith/build/rootfs"
)

// TestAnotherReader: what another program's reader makes of an archive.
func TestAnotherReader(t *testing.T) {
	tree := sample(t)
	data, _ := write(t, Segment{Tree: tree, Compression: None})
	r := cpio.NewReader(bytes.NewReader(data))
	bodies := map[int64]string{}
	var names []string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil || int64(len(body)) != h.Size {
			t.Errorf("%s: %d of %d bytes, %v", h.Name, len(body), h.Size, err)
		}
		if bodies[h.Inode] == "" {
			bodies[h.Inode] = string(body)
		}
		names = append(names, h.Name)
		want := tree.Root()
		if h.Name != "." {
			want = tree.Lookup(h.Name)
		}
		if want == nil || uint32(h.Mode) != want.Mode || h.Uid != want.UID || h.Guid != want.GID {
			t.Fatalf("%s: %+v, want %+v", h.Name, h, want)
		}
		if want.Type() == rootfs.ModeFile && bodies[h.Inode] != content(t, want) {
			t.Errorf("%s: other content", h.Name)
		}
	}
	if !slices.Equal(names, append([]string{"."}, tree.Paths()...)) {
		t.Errorf("names %q", names)
	}
}

func content(t *testing.T, n *rootfs.Inode) string {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(n.Open(), 0, n.Size))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
