package initramfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"hooksmith/build/rootfs"
)

// streamedFile is what a test adds to an Archive.
type streamedFile struct {
	name string
	n    *rootfs.Inode
}

// adder adds files, their contents in pieces.
func adder(list ...streamedFile) func(context.Context, *Archive) error {
	return func(_ context.Context, s *Archive) error {
		for _, f := range list {
			if err := s.Add(f.name, f.n); err != nil {
				return err
			}
			if f.n.Type() != rootfs.ModeFile {
				continue
			}
			for r, piece := f.n.Open(), make([]byte, 7); ; {
				k, err := r.Read(piece)
				if _, err := s.Write(piece[:k]); err != nil {
					return err
				}
				if err == io.EOF {
					break
				}
			}
		}
		return nil
	}
}

func streamTree(t *testing.T, list ...streamedFile) *rootfs.Tree {
	m := files{}
	for _, f := range list {
		m[f.name] = f.n
	}
	return treeOf(t, m)
}

// ahead is one over a base with the folder var.
func ahead(t *testing.T) (*Ahead, Segment) {
	base := Segment{Name: "base", Tree: treeOf(t, files{"var": node(rootfs.ModeDir | 0o755), "var/file": file(0o644, "1")})}
	a := NewAhead(Options{TempDir: t.TempDir(), Cache: &folder{dir: t.TempDir()}})
	a.Over(base.Tree)
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a, base
}

// TestStream: a streamed segment has the records that one of its tree has, in
// the order in which they came, and is the same from the cache.
func TestStream(t *testing.T) {
	list := []streamedFile{
		{"var/layer", node(rootfs.ModeDir | 0o700)},
		{"var/layer", node(rootfs.ModeDir | 0o750)}, // says more of what is held back
		{"var/layer/z", file(0o4755, strings.Repeat("program ", 300_000))},
		{"var/layer/link", symlink("z")},
		{"var/layer/sub", node(rootfs.ModeDir | 0o711)},
		{"var/layer/sub/empty", file(0o600, "")},
		{"var/layer/sub/device", device(rootfs.ModeChar|0o666, 1, 3)},
		{"var/layer/sub/1", file(0o600, "1")},
		{"var/layer/sub", node(rootfs.ModeDir | 0o711)}, // once more, for attributes that an archive does not have
		{"var/layer/a", file(0o600, "12345")},
		{"var/last", node(rootfs.ModeDir | 0o755)},
	}
	tree := streamTree(t, list...)
	for _, tt := range []Segment{{Compression: Zstd}, {Compression: Zstd, Level: 7}, {Compression: Gzip}, {Compression: None}, {Compression: Zstd, Epoch: time.Unix(1600000000, 0)}} {
		a, base := ahead(t)
		seg := tt
		seg.Name = "layer"
		var before []byte
		for round := range 2 {
			made, err := a.Stream(t.Context(), seg, "id", 100, adder(list...))
			if err != nil {
				t.Fatal(err)
			}
			if (made.made != nil) != (round == 0) {
				t.Fatalf("round %d: made is %v", round, made.made)
			}
			whole := seg
			whole.Tree = tree
			if err := a.Adopt(whole, made); err != nil {
				t.Fatal(err)
			}
			opt := a.opt
			opt.Ahead = a
			var out bytes.Buffer
			infos, err := Write(t.Context(), &out, []Segment{base, whole}, opt)
			if err != nil || a.Left() != 0 {
				t.Fatalf("%v, %d left", err, a.Left())
			}
			plain, want := write(t, base, whole)
			if infos[1].Entries != want[1].Entries || infos[1].Unpacked != want[1].Unpacked || infos[1].Name != "layer" {
				t.Errorf("%+v instead of %+v", infos[1], want[1])
			}
			got, wanted := records(t, out.Bytes()), records(t, plain)
			if slices.Equal(got, wanted) {
				t.Error("the records are in the tree's order")
			}
			slices.Sort(got)
			slices.Sort(wanted)
			if !slices.Equal(got, wanted) {
				t.Errorf("records\n%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
			}
			if before != nil && !bytes.Equal(out.Bytes(), before) {
				t.Error("other bytes from the cache")
			}
			before = out.Bytes()
		}
	}
}

// records lists an initramfs without inode numbers, which follow the order.
func records(t *testing.T, data []byte) []string {
	lines := strings.Split(strings.TrimSpace(list(t, data)), "\n")
	for i, line := range lines {
		head, tail, _ := strings.Cut(line, "ino=")
		_, tail, _ = strings.Cut(tail, " ")
		lines[i] = head + tail
	}
	return lines
}

// TestStreamOrder: what the kernel would not unpack as it comes is refused, and
// leaves nothing behind.
func TestStreamOrder(t *testing.T) {
	dir, other := node(rootfs.ModeDir|0o755), node(rootfs.ModeDir|0o700)
	for name, list := range map[string][]streamedFile{
		"a file before its directory":  {{"var/a/b", file(0o644, "b")}, {"var/a", dir}},
		"a file twice":                 {{"var/a", file(0o644, "b")}, {"var/a", file(0o644, "b")}},
		"a file, then a directory":     {{"var/a", file(0o644, "b")}, {"var/a", dir}},
		"a directory, then a file":     {{"var/a", dir}, {"var/a", file(0o644, "b")}},
		"another directory, too late":  {{"var/a", dir}, {"var/b", dir}, {"var/a", other}},
		"below a file":                 {{"var/a", file(0o644, "b")}, {"var/a/b", dir}},
		"below a file of the segments": {{"var/file/b", file(0o644, "b")}},
	} {
		a, _ := ahead(t)
		made, err := a.Stream(t.Context(), Segment{Name: "s", Compression: Zstd}, name, 0, adder(list...))
		if !errors.Is(err, ErrOrder) || made != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStreams: what is not streamed is no matter of the order of its records.
func TestStreams(t *testing.T) {
	a, _ := ahead(t)
	broken, _ := ahead(t)
	broken.Over(treeOf(t, files{"run/socket": node(rootfs.ModeSocket)}))
	for _, tt := range []struct {
		a    *Ahead
		seg  Segment
		want bool
	}{
		{a, Segment{Name: "s"}, true},
		{a, Segment{Name: "s", Compression: Gzip, Level: 9}, true},
		{a, Segment{Name: "s", Compression: Zstd, Level: 20}, false},
		{broken, Segment{Name: "s"}, false},
	} {
		if got := tt.a.Streams(tt.seg); got != tt.want {
			t.Errorf("%+v: %v", tt.seg, got)
		}
		made, err := tt.a.Stream(t.Context(), tt.seg, "id", 0, adder())
		if (err == nil) != tt.want || errors.Is(err, ErrOrder) {
			t.Errorf("%+v: %v", tt.seg, err)
		}
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStreamFails: wrong records end the segment, with an error that names them.
func TestStreamFails(t *testing.T) {
	stop := errors.New("stop")
	for want, write := range map[string]func(context.Context, *Archive) error{
		"3 bytes of the last file are missing": func(_ context.Context, s *Archive) error {
			err := s.Add("var/a", file(0o644, "12345"))
			_, werr := s.Write([]byte("12"))
			return errors.Join(err, werr)
		},
		"1 bytes more than the file has": func(_ context.Context, s *Archive) error {
			err := s.Add("var/a", file(0o644, "1"))
			_, werr := s.Write([]byte("12"))
			return errors.Join(err, werr)
		},
		`"var/b": 1 bytes of the file before are missing`: headers(streamedFile{"var/a", file(0o644, "1")}, streamedFile{"var/b", file(0o644, "")}),
		"socket": headers(streamedFile{"var/a", node(rootfs.ModeSocket)}),
		"stop":   func(context.Context, *Archive) error { return stop },
	} {
		a, _ := ahead(t)
		made, err := a.Stream(t.Context(), Segment{Name: "s", Compression: Zstd}, want, 0, write)
		if err == nil || !strings.Contains(err.Error(), want) || made != nil {
			t.Errorf("error %v, want %q", err, want)
		}
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	}
}

// headers adds files without their contents.
func headers(list ...streamedFile) func(context.Context, *Archive) error {
	return func(_ context.Context, s *Archive) error {
		for _, f := range list {
			if err := s.Add(f.name, f.n); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestAdopt: a segment of other records than the tree's is not taken.
func TestAdopt(t *testing.T) {
	a, _ := ahead(t)
	seg := Segment{Name: "s", Compression: Zstd}
	stream := func(id string) *Streamed {
		made, err := a.Stream(t.Context(), Segment{Name: "s", Compression: Zstd}, id, 0, adder(streamedFile{"var/a", file(0o644, "1")}))
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	seg.Tree = streamTree(t, streamedFile{"var/a", file(0o644, "1")}, streamedFile{"var/b", file(0o644, "1")})
	if err := a.Adopt(seg, stream("1")); err == nil || errors.Is(err, ErrOrder) || !strings.Contains(err.Error(), "its tree has 2") {
		t.Errorf("another tree: %v", err)
	}
	seg.Tree = streamTree(t, streamedFile{"new/a", file(0o644, "1")})
	if err := a.Adopt(seg, stream("2")); !errors.Is(err, ErrOrder) {
		t.Errorf("a directory that nothing describes: %v", err)
	}
	seg.Tree = streamTree(t, streamedFile{"var/a", file(0o644, "1")})
	if err := a.Adopt(seg, stream("3")); err != nil || a.Left() != 1 {
		t.Errorf("%v, %d left", err, a.Left())
	}
	if err := a.Adopt(seg, stream("3")); err != nil || a.Left() != 1 {
		t.Errorf("twice: %v, %d left", err, a.Left())
	}
}
