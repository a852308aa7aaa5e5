package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// item is one tar entry of a test layer.
type item struct {
	hdr  tar.Header
	body string
}

func dir(name string, mode int64) item {
	return item{hdr: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}}
}

func file(name, body string) item {
	return item{hdr: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, body: body}
}

func symlink(name, target string) item {
	return item{hdr: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func hardlink(name, target string) item {
	return item{hdr: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

func device(name string, kind byte, major, minor int64) item {
	return item{hdr: tar.Header{Typeflag: kind, Name: name, Mode: 0o600, Devmajor: major, Devminor: minor}}
}

// tarOf writes the entries as a tar.
func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, it := range items {
		hdr := it.hdr
		hdr.Size = int64(len(it.body))
		if hdr.ModTime.IsZero() {
			hdr.ModTime = time.Unix(1700000000, 0)
		}
		if err := w.WriteHeader(&hdr); err != nil {
			t.Fatalf("writing %q: %v", hdr.Name, err)
		}
		if _, err := io.WriteString(w, it.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layerOf(t testing.TB, items ...item) *Layer {
	t.Helper()
	data := tarOf(t, items...)
	l, err := Index(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func flatten(t testing.TB, layers ...[]item) *Tree {
	t.Helper()
	var indexed []*Layer
	for _, items := range layers {
		indexed = append(indexed, layerOf(t, items...))
	}
	tree, err := Flatten(indexed...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// dump describes a tree, one path a line. A file that shares its inode with
// an earlier path is "path = earlier"; the root is left out if it is implied.
func dump(t testing.TB, tree *Tree) string {
	t.Helper()
	var b strings.Builder
	if !tree.Root().Implied() {
		fmt.Fprintf(&b, "./ %o\n", tree.Root().Mode&modePerm)
	}
	first := make(map[*Inode]string)
	err := tree.Walk(func(p string, n *Inode) error {
		if parent, _ := splitPath(p); tree.Lookup(parent) == nil || !tree.Lookup(parent).IsDir() {
			return fmt.Errorf("%q has no parent directory", p)
		}
		if old, ok := first[n]; ok {
			fmt.Fprintf(&b, "%s = %s\n", p, old)
			return nil
		}
		first[n] = p
		switch n.Type() {
		case ModeDir:
			fmt.Fprintf(&b, "%s/ %o", p, n.Mode&modePerm)
			if n.Implied() {
				b.WriteString(" implied")
			}
		case ModeLink:
			fmt.Fprintf(&b, "%s -> %s", p, n.Target)
		case ModeFile:
			body, err := io.ReadAll(n.Open())
			if err != nil || int64(len(body)) != n.Size {
				return fmt.Errorf("%s: %d of %d bytes: %v", p, len(body), n.Size, err)
			}
			fmt.Fprintf(&b, "%s %o %q", p, n.Mode&modePerm, body)
		default:
			fmt.Fprintf(&b, "%s %o %d:%d", p, n.Mode, n.Major, n.Minor)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// wantDump compares a tree with the lines of want, white space trimmed.
func wantDump(t *testing.T, tree *Tree, want string) {
	t.Helper()
	got := dump(t, tree)
	var b strings.Builder
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	if got != b.String() {
		t.Errorf("got:\n%swant:\n%s", got, b.String())
	}
}
