package rootfs

import (
	"fmt"
	"strings"
	"testing"
)

// TestFlatten has one case per rule of the comment at Flatten.
func TestFlatten(t *testing.T) {
	for _, tc := range []struct {
		name   string
		layers [][]item
		want   string
	}{
		{"no layers", nil, ``},
		{"the root's own entry", [][]item{{dir("./", 0o700), file("./a", "1")}}, `
			./ 700
			a 644 "1"`},
		{"implied parents", [][]item{{file("usr/share/doc/x", "1")}}, `
			usr/ 755 implied
			usr/share/ 755 implied
			usr/share/doc/ 755 implied
			usr/share/doc/x 644 "1"`},
		{"a parent of the lower layer keeps its mode", [][]item{
			{dir("etc", 0o700), file("etc/a", "1")},
			{file("etc/b", "2")}}, `
			etc/ 700
			etc/a 644 "1"
			etc/b 644 "2"`},
		{"an entry for an implied parent that comes later", [][]item{
			{file("etc/a", "1"), dir("etc/", 0o711)}}, `
			etc/ 711
			etc/a 644 "1"`},
		{"byte order: a-b stands between a and a/c", [][]item{
			{dir("a", 0o755), file("a/c", ""), file("a-b", ""), file("a0", "")}}, `
			a/ 755
			a-b 644 ""
			a/c 644 ""
			a0 644 ""`},

		{"upper file replaces lower file", [][]item{{file("a", "1")}, {file("a", "2")}}, `a 644 "2"`},
		{"last entry of a name wins within a layer", [][]item{{file("a", "1"), file("a", "2")}}, `a 644 "2"`},
		{"directory over directory: new mode, children stay", [][]item{
			{dir("d", 0o755), file("d/a", "1")},
			{dir("d", 0o700)}}, `
			d/ 700
			d/a 644 "1"`},
		{"file over directory drops children", [][]item{
			{dir("d", 0o755), dir("d/e", 0o755), file("d/e/f", "1")},
			{file("d", "2")}}, `d 644 "2"`},
		{"symlink over directory drops children", [][]item{
			{dir("d", 0o755), file("d/a", "1"), file("e/a", "2")},
			{symlink("d", "e")}}, `
			d -> e
			e/ 755 implied
			e/a 644 "2"`},
		{"directory over file", [][]item{{file("d", "1")}, {dir("d", 0o750), file("d/a", "2")}}, `
			d/ 750
			d/a 644 "2"`},
		{"directory over symlink does not follow it", [][]item{
			{file("e/a", "1"), symlink("d", "e")},
			{dir("d", 0o750), file("d/b", "2")}}, `
			d/ 750
			d/b 644 "2"
			e/ 755 implied
			e/a 644 "1"`},
		{"device over file", [][]item{{file("null", "1")}, {device("null", '3', 1, 3)}}, `null 20600 1:3`},
		{"a file in the way of a parent gives way", [][]item{{file("d", "1")}, {file("d/a", "2")}}, `
			d/ 755 implied
			d/a 644 "2"`},

		{"whiteout of a file", [][]item{{file("a", "1"), file("b", "2")}, {file(".wh.a", "")}}, `b 644 "2"`},
		{"whiteout of a directory", [][]item{
			{file("d/e/f", "1"), file("b", "2")}, {file(".wh.d", "")}}, `b 644 "2"`},
		{"whiteout in a directory", [][]item{
			{file("d/a", "1"), file("d/b", "2")}, {file("d/.wh.a", "")}}, `
			d/ 755 implied
			d/b 644 "2"`},
		{"whiteout of a symlink leaves what it names", [][]item{
			{file("e/a", "1"), symlink("d", "e")}, {file(".wh.d", "")}}, `
			e/ 755 implied
			e/a 644 "1"`},
		{"whiteout of nothing", [][]item{{file("a", "1")}, {file(".wh.b", ""), file("x/y/.wh.z", "")}}, `a 644 "1"`},
		{"whiteout below a file", [][]item{{file("a", "1")}, {file("a/.wh.b", "")}}, `a 644 "1"`},
		{"whiteout after the entry in its own layer", [][]item{
			{file("a", "1")}, {file("a", "2"), file(".wh.a", "")}}, `a 644 "2"`},
		{"whiteout before the entry in its own layer", [][]item{
			{file("a", "1")}, {file(".wh.a", ""), file("a", "2")}}, `a 644 "2"`},
		{"whiteout of a directory that its own layer makes anew", [][]item{
			{dir("d", 0o700), file("d/a", "1")},
			{dir("d", 0o750), file("d/b", "2"), file(".wh.d", "")}}, `
			d/ 750
			d/b 644 "2"`},
		{"whiteout in the lowest layer", [][]item{{file(".wh.a", ""), file("a", "1")}}, `a 644 "1"`},
		{"what a whiteout hid can return", [][]item{
			{file("a", "1")}, {file(".wh.a", "")}, {file("a", "3")}}, `a 644 "3"`},
		{"whiteout through a lower symlink", [][]item{
			{symlink("lib", "usr/lib"), file("usr/lib/x", "1"), file("usr/lib/y", "2")},
			{file("lib/.wh.x", "")}}, `
			lib -> usr/lib
			usr/ 755 implied
			usr/lib/ 755 implied
			usr/lib/y 644 "2"`},
		{"names that only look like whiteouts", [][]item{{file("a.wh.b", "1"), file("wh.c", "2")}}, `
			a.wh.b 644 "1"
			wh.c 644 "2"`},

		{"opaque directory", [][]item{
			{dir("d", 0o700), file("d/a", "1"), file("d/e/f", "2"), file("x", "3")},
			{dir("d", 0o750), file("d/.wh..wh..opq", ""), file("d/b", "4")}}, `
			d/ 750
			d/b 644 "4"
			x 644 "3"`},
		{"opaque after entries of its own layer", [][]item{
			{file("d/a", "1")},
			{file("d/b", "2"), file("d/.wh..wh..opq", "")}}, `
			d/ 755 implied
			d/b 644 "2"`},
		{"opaque root", [][]item{{dir(".", 0o711), file("a", "1")}, {file(".wh..wh..opq", ""), file("b", "2")}}, `
			./ 711
			b 644 "2"`},
		{"opaque directory that is not there", [][]item{{file("a", "1")}, {file("d/.wh..wh..opq", "")}}, `a 644 "1"`},
		{"opaque directory in place of a lower symlink", [][]item{
			{symlink("lib", "usr/lib"), file("usr/lib/x", "1")},
			{dir("lib", 0o755), file("lib/.wh..wh..opq", ""), file("lib/y", "2")}}, `
			lib/ 755
			lib/y 644 "2"
			usr/ 755 implied
			usr/lib/ 755 implied
			usr/lib/x 644 "1"`},
		{"AUFS's own files are skipped", [][]item{
			{dir(".wh..wh.plnk", 0o700), file(".wh..wh.plnk/100.20", "1"), file(".wh..wh.aufs", ""), file("a", "2")}},
			`a 644 "2"`},

		{"hard links", [][]item{{file("a", "1"), hardlink("b", "a"), hardlink("d/c", "./b")}}, `
			a 644 "1"
			b = a
			d/ 755 implied
			d/c = a`},
		{"hard link with a leading slash", [][]item{{file("a", "1"), hardlink("b", "/a")}}, `
			a 644 "1"
			b = a`},
		{"hard link to a lower layer", [][]item{{file("a", "1")}, {hardlink("b", "a")}}, `
			a 644 "1"
			b = a`},
		{"a replaced name leaves the other with the lower content", [][]item{
			{file("a", "1"), hardlink("b", "a")}, {file("a", "2")}}, `
			a 644 "2"
			b 644 "1"`},
		{"hard link to the upper content", [][]item{
			{file("a", "1")}, {file("a", "2"), hardlink("b", "a")}}, `
			a 644 "2"
			b = a`},
		{"hard link to the lower content, then the target is replaced", [][]item{
			{file("a", "1")}, {hardlink("b", "a"), file("a", "2")}}, `
			a 644 "2"
			b 644 "1"`},
		{"a whiteout of one name leaves the other", [][]item{
			{file("a", "1"), hardlink("b", "a")}, {file(".wh.a", "")}}, `b 644 "1"`},
		{"hard link through a symlink", [][]item{
			{symlink("bin", "usr/bin"), file("usr/bin/x", "1")}, {hardlink("bin/y", "bin/x")}}, `
			bin -> usr/bin
			usr/ 755 implied
			usr/bin/ 755 implied
			usr/bin/x 644 "1"
			usr/bin/y = usr/bin/x`},
		{"hard link to a symlink is the symlink", [][]item{{symlink("a", "x"), hardlink("b", "a")}}, `
			a -> x
			b = a`},
		{"hard link to itself", [][]item{{file("a", "1"), hardlink("a", "a")}}, `a 644 "1"`},
		{"hard link over a directory that holds its target", [][]item{{file("d/a", "1"), hardlink("d", "d/a")}}, `d 644 "1"`},

		{"parent is a symlink of the same layer", [][]item{
			{dir("usr/lib", 0o755), symlink("lib", "usr/lib"), file("lib/x", "1")}}, `
			lib -> usr/lib
			usr/ 755 implied
			usr/lib/ 755
			usr/lib/x 644 "1"`},
		{"parent is a symlink of a lower layer", [][]item{
			{dir("usr/lib", 0o755), symlink("lib", "/usr/lib")},
			{file("lib/modules/x", "1")}}, `
			lib -> /usr/lib
			usr/ 755 implied
			usr/lib/ 755
			usr/lib/modules/ 755 implied
			usr/lib/modules/x 644 "1"`},
		{"parent is a chain of symlinks", [][]item{
			{dir("c", 0o755), symlink("b", "./c"), symlink("a", "b/"), file("a/x", "1")}}, `
			a -> b/
			b -> ./c
			c/ 755
			c/x 644 "1"`},
		{"dot-dot in a target is where the link leads, and stays inside", [][]item{
			{dir("x/y", 0o755), symlink("l", "x/y/../../../../etc"), symlink("m", "x/y"), symlink("n", "m/../z"), file("l/passwd", "1"), file("n/f", "2")}}, `
			etc/ 755 implied
			etc/passwd 644 "1"
			l -> x/y/../../../../etc
			m -> x/y
			n -> m/../z
			x/ 755 implied
			x/y/ 755
			x/z/ 755 implied
			x/z/f 644 "2"`},
		{"dot-dot after an absolute target stays inside", [][]item{
			{symlink("x/y/l", "/../etc"), file("x/y/l/passwd", "1")}}, `
			etc/ 755 implied
			etc/passwd 644 "1"
			x/ 755 implied
			x/y/ 755 implied
			x/y/l -> /../etc`},
		{"dangling symlink as a parent makes its target", [][]item{
			{symlink("var/run", "/run")}, {file("var/run/x", "1")}}, `
			run/ 755 implied
			run/x 644 "1"
			var/ 755 implied
			var/run -> /run`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantDump(t, flatten(t, tc.layers...), tc.want)
		})
	}
}

// TestFlattenLayerTwice: a layer that comes again replaces its files, and does
// not bring back the links that were made to the old ones.
func TestFlattenLayerTwice(t *testing.T) {
	l := layerOf(t, file("a", "1"))
	tree, err := Flatten(l, layerOf(t, hardlink("b", "a")), l)
	if err != nil {
		t.Fatal(err)
	}
	wantDump(t, tree, `
		a 644 "1"
		b 644 "1"`)
}

func TestFlattenErrors(t *testing.T) {
	deep := strings.Repeat("d/", 1500)
	for _, tc := range []struct {
		name   string
		layers [][]item
		want   []string // parts of the message
	}{
		{"hard link to nothing", [][]item{{file("x", "")}, {hardlink("b", "a")}}, []string{"layer 2", `"b"`, `"a"`}},
		{"hard link to a whiteout", [][]item{{file("a", "")}, {file(".wh.a", ""), hardlink("b", "a")}}, []string{`"a"`}},
		{"hard link to a directory", [][]item{{dir("d", 0o755), hardlink("b", "d")}}, []string{`"b"`, "directory"}},
		{"hard link as the root", [][]item{{file("a", ""), hardlink(".", "a")}}, []string{`"."`, "root"}},
		{"loop", [][]item{{symlink("a", "b"), symlink("b", "a"), file("a/x", "")}}, []string{`"a/x"`, "symbolic links"}},
		{"a parent through a link to a file", [][]item{{file("f", "1"), symlink("l", "f"), file("l/x", "")}}, []string{`"l/x"`, `"f"`, "not a directory"}},
		{"links that make a path too long", [][]item{
			{dir(deep, 0o755), symlink("l", deep), file("l/m/x", ""), symlink("m", "l/"+deep), file("m/y", "")}},
			[]string{`"m/y"`, "4095"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var layers []*Layer
			for _, items := range tc.layers {
				layers = append(layers, layerOf(t, items...))
			}
			_, err := Flatten(layers...)
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

// TestFlattenBounds: a small tar must not make a tree that takes gigabytes.
func TestFlattenBounds(t *testing.T) {
	var items []item
	for i := range 200 { // 400 kB of tar that imply 800 MB of paths
		items = append(items, file(fmt.Sprintf("%d/%sx", i, strings.Repeat("d/", 2040)), ""))
	}
	l := layerOf(t, items...)
	if _, err := Flatten(l); err == nil || !strings.Contains(err.Error(), "bytes of names") {
		t.Errorf("got %v", err)
	}
}

func TestFlattenManyLayers(t *testing.T) {
	var layers []*Layer
	for i := range 300 {
		layers = append(layers, layerOf(t,
			file(fmt.Sprintf("d/%03d", i), "x"),
			file("d/last", fmt.Sprint(i)),
			file(fmt.Sprintf("d/.wh.%03d", i-2), "")))
	}
	tree, err := Flatten(layers...)
	if err != nil {
		t.Fatal(err)
	}
	wantDump(t, tree, `
		d/ 755 implied
		d/298 644 "x"
		d/299 644 "x"
		d/last 644 "299"`)
}
