package rootfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestNew(t *testing.T) {
	hello := NewFile(0o600, []byte("hello"))
	tree, err := New(map[string]*Inode{
		"./etc/hooksmith/a": hello,
		"b":                 hello,
		"empty":             NewFile(0o4755, nil),
		".":                 {Mode: ModeDir | 0o711},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantDump(t, tree, `
		./ 711
		b 600 "hello"
		empty 4755 ""
		etc/ 755 implied
		etc/hooksmith/ 755 implied
		etc/hooksmith/a = b`)
	for _, bad := range []string{"", "..", "a/../../b", "/etc/passwd", "a\x00b", strings.Repeat("x", 256)} {
		if _, err := New(map[string]*Inode{bad: hello}); err == nil {
			t.Errorf("New accepts %q", bad)
		}
	}
	for name, bad := range map[string]*Inode{
		"nil": nil, "no target": {Mode: ModeLink | 0o777}, "no content": {Mode: ModeFile, Size: 1}, ".": hello,
	} {
		if _, err := New(map[string]*Inode{name: bad}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlace(t *testing.T) {
	tree := flatten(t, []item{dir(".", 0o711), file("a", "1"), hardlink("b", "a"), dir("d", 0o700), file("d-e", ""), file("d/f", "")})
	wantDump(t, tree.Place("/containers/x/lower/"), `
		containers/ 755 implied
		containers/x/ 755 implied
		containers/x/lower/ 711
		containers/x/lower/a 644 "1"
		containers/x/lower/b = containers/x/lower/a
		containers/x/lower/d/ 700
		containers/x/lower/d-e 644 ""
		containers/x/lower/d/f 644 ""`)
	if tree.Place("") != tree || tree.Place("./") != tree {
		t.Error("the empty prefix makes another tree")
	}
	if p := tree.Place("../../x").Paths(); p[0] != "x" {
		t.Errorf("a prefix leaves the root: %q", p)
	}
	if !slices.IsSorted(tree.Place("a/b").Paths()) {
		t.Error("paths are not sorted")
	}
}

func TestKeep(t *testing.T) {
	tree := flatten(t, []item{
		dir("usr", 0o751), dir("usr/lib", 0o752), file("usr/lib/m.ko", "1"), file("usr/lib/x", "2"),
		dir("usr/share", 0o753), dir("usr/share/doc", 0o755), file("usr/share/doc/x", "3"), file("usr/share-x", "")})
	wantDump(t, tree.Keep(func(p string, n *Inode) bool { return strings.HasSuffix(p, ".ko") }), `
		usr/ 751
		usr/lib/ 752
		usr/lib/m.ko 644 "1"`)
	wantDump(t, tree.Keep(func(p string, n *Inode) bool { return !strings.HasPrefix(p, "usr/share/doc") && p != "usr/lib" }), `
		usr/ 751
		usr/lib/ 752
		usr/lib/m.ko 644 "1"
		usr/lib/x 644 "2"
		usr/share/ 753
		usr/share-x 644 ""`)
	if n := tree.Keep(func(string, *Inode) bool { return false }).Len(); n != 0 {
		t.Errorf("keeping nothing keeps %d", n)
	}
}

func TestMerge(t *testing.T) {
	tree := func(items ...item) *Tree { return flatten(t, items) }
	guest := tree(file("usr/bin/hookguest", "elf"), hardlink("usr/bin/init", "usr/bin/hookguest"))
	for _, tc := range []struct {
		name  string
		trees []*Tree
		want  string
	}{
		{"nothing", nil, ``},
		{"later wins, directories join", []*Tree{
			tree(dir(".", 0o700), dir("d", 0o700), file("d/a", "1"), file("d/b", "1")),
			tree(dir(".", 0o711), dir("d", 0o711), file("d/b", "2"))}, `
			./ 711
			d/ 711
			d/a 644 "1"
			d/b 644 "2"`},
		{"implied directories yield", []*Tree{
			tree(dir(".", 0o700), dir("d", 0o700), file("d/a", "1")),
			tree(file("d/b", "2"))}, `
			./ 700
			d/ 700
			d/a 644 "1"
			d/b 644 "2"`},
		{"implied directories are described later", []*Tree{
			tree(file("d/b", "2")),
			tree(dir("d", 0o700))}, `
			d/ 700
			d/b 644 "2"`},
		{"implied directories follow symlinks", []*Tree{
			tree(symlink("lib", "usr/lib"), dir("usr/lib", 0o711)),
			tree(file("lib/modules/x", "1"))}, `
			lib -> usr/lib
			usr/ 755 implied
			usr/lib/ 711
			usr/lib/modules/ 755 implied
			usr/lib/modules/x 644 "1"`},
		{"described directories replace symlinks", []*Tree{
			tree(symlink("lib", "usr/lib"), dir("usr/lib", 0o711)),
			tree(dir("lib", 0o755), file("lib/x", "1"))}, `
			lib/ 755
			lib/x 644 "1"
			usr/ 755 implied
			usr/lib/ 711`},
		{"file over directory", []*Tree{tree(file("d/a/b", "1")), tree(file("d", "2"))}, `d 644 "2"`},
		{"one name of a pair is replaced", []*Tree{
			tree(file("a", "1"), hardlink("b", "a")), tree(file("a", "2"))}, `
			a 644 "2"
			b 644 "1"`},
		{"links stay within their tree", []*Tree{guest.Place("x"), guest.Place("y")}, `
			x/ 755 implied
			x/usr/ 755 implied
			x/usr/bin/ 755 implied
			x/usr/bin/hookguest 644 "elf"
			x/usr/bin/init = x/usr/bin/hookguest
			y/ 755 implied
			y/usr/ 755 implied
			y/usr/bin/ 755 implied
			y/usr/bin/hookguest 644 "elf"
			y/usr/bin/init = y/usr/bin/hookguest`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			merged, err := Merge(tc.trees...)
			if err != nil {
				t.Fatal(err)
			}
			wantDump(t, merged, tc.want)
		})
	}
	_, err := Merge(tree(file("f", ""), symlink("l", "f")), tree(file("l/x", "")))
	if err == nil || !strings.Contains(err.Error(), "tree 2") || !strings.Contains(err.Error(), `"l`) {
		t.Errorf("got %v", err)
	}
}

func TestSize(t *testing.T) {
	tree := flatten(t, []item{
		file("a", strings.Repeat("x", 4096)), hardlink("b", "a"), file("c", "1"),
		file("d", strings.Repeat("x", 4097)), file("e", ""), symlink("f", "a"), dir("g", 0o755)})
	if got := tree.Size(); got != 4096+4096+8192 {
		t.Errorf("Size = %d", got)
	}
	if tree.Len() != 7 {
		t.Errorf("Len = %d", tree.Len())
	}
}

func TestDedup(t *testing.T) {
	withXattr := func(it item, value string) item {
		it.hdr.PAXRecords = map[string]string{"SCHILY.xattr.user.x": value}
		return it
	}
	owned := file("owner", "same")
	owned.hdr.Uid = 7
	exec := file("mode", "same")
	exec.hdr.Mode = 0o755
	tree := flatten(t, []item{
		file("b", "same"), file("a", "same"), file("c/x", "same"), file("other", "SAME"), file("z", "longer"),
		owned, exec, file("empty1", ""), file("empty2", ""), symlink("l1", "same"), symlink("l2", "same"),
		file("apart/x", "same"), file("pair1", "same"), hardlink("apart/pair2", "pair1"),
		withXattr(file("x1", "same"), "1"), withXattr(file("x2", "same"), "1"), withXattr(file("x3", "same"), "2")})
	for range 3 {
		got, err := tree.Dedup(t.Context(), func(p string) bool { return strings.HasPrefix(p, "apart/") })
		if err != nil {
			t.Fatal(err)
		}
		wantDump(t, got, `
			a 644 "same"
			apart/ 755 implied
			apart/pair2 644 "same"
			apart/x 644 "same"
			b = a
			c/ 755 implied
			c/x = a
			empty1 644 ""
			empty2 644 ""
			l1 -> same
			l2 -> same
			mode 755 "same"
			other 644 "SAME"
			owner 644 "same"
			pair1 = apart/pair2
			x1 644 "same"
			x2 = x1
			x3 644 "same"
			z 644 "longer"`)
	}
	wantDump(t, tree.Keep(func(p string, _ *Inode) bool { return p == "a" || p == "b" }), "a 644 \"same\"\nb 644 \"same\"")
}

// TestDedupPlaced: the same layer at two prefixes is recognised unread.
func TestDedupPlaced(t *testing.T) {
	data := tarOf(t, file("a", "12345"))
	r := &countingReaderAt{data: data}
	l, err := Index(r, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Flatten(l)
	if err != nil {
		t.Fatal(err)
	}
	both, err := Merge(tree.Place("x"), tree.Place("y"))
	if err != nil {
		t.Fatal(err)
	}
	before := r.calls.Load()
	linked, err := both.Dedup(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if linked.Lookup("x/a") != linked.Lookup("y/a") || both.Lookup("x/a") == both.Lookup("y/a") {
		t.Error("not linked, or linked in the old tree too")
	}
	if n := r.calls.Load() - before; n != 0 {
		t.Errorf("read %d times, but both are at one place", n)
	}
}

// TestDedupOtherMode: one place used with two modes is not one file, and a
// file of another place is compared by content with that of its own mode.
func TestDedupOtherMode(t *testing.T) {
	first := flatten(t, []item{file("a", "12345")})
	second := flatten(t, []item{file("b", "54321")})
	n := *first.Lookup("a")
	n.Mode = second.Lookup("b").Mode
	private := n
	private.Mode = ModeFile | 0o600
	tree, err := New(map[string]*Inode{"a": &n, "b": second.Lookup("b"), "c": &private, "d": first.Lookup("a")})
	if err != nil {
		t.Fatal(err)
	}
	linked, err := tree.Dedup(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c, d := linked.Lookup("a"), linked.Lookup("b"), linked.Lookup("c"), linked.Lookup("d")
	if a == b || a == c || b == c || a != d {
		t.Errorf("a %p, b %p, c %p, d %p: only a and d are equal", a, b, c, d)
	}
}

// TestContentID: what has no hash goes by its place in a layer with a name.
func TestContentID(t *testing.T) {
	id := func(name string, hash int64) string {
		data := tarOf(t, file("a", "12345"))
		l, err := Index(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			err = l.Hash(t.Context(), hash)
		}
		if err != nil {
			t.Fatal(err)
		}
		l.Name(name)
		tree, err := Flatten(l)
		if err != nil {
			t.Fatal(err)
		}
		b, err := tree.Lookup("a").AppendContentID(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	content := id("", 5)
	if id("", 4) != content || id("layer", 5) != content {
		t.Error("a known hash, or a layer without a name, must give the hash")
	}
	if id("layer", 4) == content || id("layer", 4) == id("other", 4) {
		t.Error("a place must be named by the layer")
	}
}

func TestDedupFails(t *testing.T) {
	data := tarOf(t, file("a", "12345"), file("b", "12345"))
	r := &countingReaderAt{data: data}
	l, err := Index(r, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Flatten(l)
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tree.Dedup(cancelled, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r.data = data[:600] // the file shrank
	_, err = tree.Dedup(t.Context(), nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("truncated: %v", err)
	}
}

func TestFS(t *testing.T) {
	tree := flatten(t, []item{
		dir("usr", 0o755), dir("usr/lib", 0o755), file("usr/lib/x", "content"), file("usr/lib-y", ""), file("usr/lib0", ""),
		symlink("lib", "usr/lib"), symlink("abs", "/usr/lib/x"), symlink("up", "../../usr/../usr/lib"),
		symlink("usr/loop", "loop"), symlink("dangling", "nowhere"), device("null", '3', 1, 3), dir("empty", 0o1777)})
	fsys := tree.FS()
	if err := fstest.TestFS(subFS(t, tree, "usr/loop", "dangling"), "usr/lib/x", "lib", "null", "empty"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"usr/lib/x", "lib/x", "abs", "up/x"} {
		if got, err := fs.ReadFile(fsys, name); string(got) != "content" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{
		"nowhere": fs.ErrNotExist, "dangling": fs.ErrNotExist, "../x": fs.ErrInvalid, "/usr": fs.ErrInvalid, "usr/loop": errLoop,
	} {
		if _, err := fs.Stat(fsys, name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := fsys.Open("usr/lib/x/y"); err == nil {
		t.Error("opened a path through a file")
	}
	if target, err := fs.ReadLink(fsys, "dangling"); target != "nowhere" {
		t.Errorf("ReadLink: %q, %v", target, err)
	}
	if _, err := fs.ReadLink(fsys, "usr"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("ReadLink of a directory: %v", err)
	}
	info, err := fs.Stat(fsys, "empty")
	if err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 || info.Sys() != any(tree.Lookup("empty")) {
		t.Errorf("%v %v", info, err)
	}
	f, err := fsys.Open("abs")
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 3)
	if _, err := f.(io.ReaderAt).ReadAt(part, 3); string(part) != "ten" {
		t.Errorf("ReadAt: %q, %v", part, err)
	}
}

// subFS returns the tree without paths that testing/fstest cannot open.
func subFS(t *testing.T, tree *Tree, without ...string) fs.FS {
	t.Helper()
	return tree.Keep(func(p string, _ *Inode) bool { return !slices.Contains(without, p) }).FS()
}
