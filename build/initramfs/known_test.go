package initramfs

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"hooksmith/build/rootfs"
)

// linked is what a layer has: a program under three names, files before their
// directories, one path twice.
func linked() (list []streamedFile, tree files) {
	program, other := file(0o4755, strings.Repeat("program ", 300_000)), file(0o600, "12345")
	deep, dir := node(rootfs.ModeDir|0o711), node(rootfs.ModeDir|0o750)
	link := symlink("program")
	list = []streamedFile{
		{"var/z/deep/program", program},
		{"var/b", nil}, // another name of it
		{"var/z/other", other},
		{"var/z/deep", deep},
		{"var/z", dir},
		{"var/z/other", other},
		{"var/z/link", link},
		{"var/z/again", nil}, // of a symbolic link
		{"var/a", nil},
		{"var/b", program}, // whose content has come
	}
	return list, files{
		"var/z": dir, "var/z/deep": deep, "var/z/deep/program": program, "var/b": program, "var/a": program,
		"var/z/other": other, "var/z/link": link, "var/z/again": link,
	}
}

// addAll adds files and other names, which have no inode.
func addAll(list []streamedFile) func(context.Context, *Archive) error {
	return func(ctx context.Context, s *Archive) error {
		for _, f := range list {
			var err error
			if f.n == nil {
				err = s.AddLink(f.name)
			} else {
				err = adder(f)(ctx, s)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// TestStreamKnown: an archive that knows its tree takes its files in any order,
// and has the records that one of the tree has.
func TestStreamKnown(t *testing.T) {
	came, tree := linked()
	a, base := ahead(t)
	seg := Segment{Name: "layer", Compression: Zstd}
	if _, err := a.Stream(t.Context(), seg, "1", 0, addAll(came)); !errors.Is(err, ErrOrder) {
		t.Errorf("without the tree: %v", err)
	}
	seg.Tree = treeOf(t, tree)
	made, err := a.Stream(t.Context(), seg, "2", 0, addAll(came))
	if err == nil {
		err = a.Adopt(seg, made)
	}
	if err != nil {
		t.Fatal(err)
	}
	opt := a.opt
	opt.Ahead = a
	var out bytes.Buffer
	if _, err := Write(t.Context(), &out, []Segment{base, seg}, opt); err != nil || a.Left() != 0 {
		t.Fatalf("%v, %d left", err, a.Left())
	}
	plain, _ := write(t, base, seg)
	got, want := records(t, out.Bytes()), records(t, plain)
	for _, lines := range [][]string{got, want} {
		for i, line := range lines { // whichever name of a file comes first has its content
			lines[i], _, _ = strings.Cut(strings.TrimSuffix(line, ` ""`), " 2400000 bytes")
		}
		slices.Sort(lines)
	}
	if !slices.Equal(got, want) {
		t.Errorf("records\n%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if text := list(t, out.Bytes()); strings.Count(text, " 2400000 bytes") != 1 || !strings.Contains(text, "deep/program 2400000 bytes") {
		t.Errorf("the program's content is not there once, under its first name:\n%s", text)
	}
}

// TestStreamKnownFails: what contradicts the tree, or comes after its names, is
// refused.
func TestStreamKnownFails(t *testing.T) {
	program := file(0o755, "1234")
	tree := files{"var/a": program, "var/b": program, "var/dir": node(rootfs.ModeDir | 0o755)}
	for name, list := range map[string][]streamedFile{
		"another name first":   {{"var/b", nil}, {"var/a", program}},
		"not in the tree":      {{"var/c", program}},
		"another size":         {{"var/a", file(0o755, "12345")}},
		"another type":         {{"var/dir", program}},
		"below what is a file": {{"var/a", program}, {"var/a/b", program}},
	} {
		a, _ := ahead(t)
		made, err := a.Stream(t.Context(), Segment{Name: "s", Tree: treeOf(t, tree)}, name, 0, addAll(list))
		if !errors.Is(err, ErrOrder) || made != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
