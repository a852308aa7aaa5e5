package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// The oracle applies layers the plain way: a map from full path to file, every
// removal a scan over all paths, every path resolved by restarting from the
// root. It shares no code with the package and reads the tars by itself.

type oracleFile struct {
	kind     byte // tar type flag
	mode     int64
	text     string // content or target
	implied  bool
	identity int
}

type oracle struct {
	files map[string]*oracleFile // "" is the root
	next  int
}

func newOracle() *oracle {
	return &oracle{files: map[string]*oracleFile{"": {kind: tar.TypeDir, mode: 0o755, implied: true}}}
}

func (o *oracle) remove(p string) {
	for q := range o.files {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(o.files, q)
		}
	}
}

func (o *oracle) removeBelow(p string) {
	for q := range o.files {
		if q != "" && (p == "" || strings.HasPrefix(q, p+"/")) {
			delete(o.files, q)
		}
	}
}

// real resolves a directory path to one without symlinks. With create, it
// makes what is missing; otherwise ok is false if there is no such directory.
func (o *oracle) real(p string, create bool) (dir string, ok bool, err error) {
	type step struct {
		name   string
		byLink bool
	}
	var todo []step
	for _, s := range strings.Split(p, "/") {
		todo = append(todo, step{s, false})
	}
	for hops := 0; len(todo) > 0; {
		s := todo[0]
		todo = todo[1:]
		if s.name == "" || s.name == "." {
			continue
		}
		if s.name == ".." {
			dir = dir[:max(strings.LastIndex(dir, "/"), 0)]
			continue
		}
		next := strings.TrimPrefix(dir+"/"+s.name, "/")
		f := o.files[next]
		switch {
		case f != nil && f.kind == tar.TypeDir:
			dir = next
		case f != nil && f.kind == tar.TypeSymlink:
			if hops++; hops > 40 {
				return "", false, fmt.Errorf("loop")
			}
			var inserted []step
			for _, name := range strings.Split(f.text, "/") {
				inserted = append(inserted, step{name, true})
			}
			if f.text[0] == '/' {
				dir = ""
			}
			todo = append(inserted, todo...)
		case !create:
			return "", false, nil
		case f != nil && s.byLink:
			return "", false, fmt.Errorf("not a directory")
		default:
			o.remove(next)
			o.files[next] = &oracleFile{kind: tar.TypeDir, mode: 0o755, implied: true}
			dir = next
		}
	}
	return dir, true, nil
}

func oracleSplit(p string) (dir, name string) {
	i := strings.LastIndex(p, "/")
	return p[:max(i, 0)], p[i+1:]
}

// at resolves all but the last component.
func (o *oracle) at(p string, create bool) (string, bool, error) {
	dir, name := oracleSplit(p)
	real, ok, err := o.real(dir, create)
	return strings.TrimPrefix(real+"/"+name, "/"), ok, err
}

func (o *oracle) apply(data []byte) error {
	var items []item
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		body, _ := io.ReadAll(tr)
		hdr.Name = strings.Trim(hdr.Name, "/")
		items = append(items, item{*hdr, string(body)})
	}
	for _, it := range items {
		dir, name := oracleSplit(it.hdr.Name)
		if !strings.HasPrefix(name, ".wh.") || o.renewed(dir, items) {
			continue
		}
		real, ok, err := o.real(dir, false)
		if err != nil {
			return err
		}
		switch {
		case !ok:
		case name == ".wh..wh..opq":
			o.removeBelow(real)
		default:
			o.remove(strings.TrimPrefix(real+"/"+name[4:], "/"))
		}
	}
	for _, it := range items {
		if _, name := oracleSplit(it.hdr.Name); strings.HasPrefix(name, ".wh.") {
			continue
		}
		if err := o.add(it); err != nil {
			return err
		}
	}
	return nil
}

// renewed: a symlink on the way is a directory of the layer itself.
func (o *oracle) renewed(dir string, items []item) bool {
	for ; dir != ""; dir, _ = oracleSplit(dir) {
		own := slices.ContainsFunc(items, func(it item) bool {
			return it.hdr.Name == dir && it.hdr.Typeflag == tar.TypeDir
		})
		p, ok, err := o.at(dir, false)
		if own && ok && err == nil && o.files[p] != nil && o.files[p].kind == tar.TypeSymlink {
			return true
		}
	}
	return false
}

func (o *oracle) add(it item) error {
	o.next++
	f := &oracleFile{kind: it.hdr.Typeflag, mode: it.hdr.Mode, text: it.body, identity: o.next}
	switch f.kind {
	case tar.TypeSymlink:
		f.text = it.hdr.Linkname
	case tar.TypeLink:
		p, ok, err := o.at(it.hdr.Linkname, false)
		if err != nil {
			return err
		}
		if !ok || o.files[p] == nil || o.files[p].kind == tar.TypeDir {
			return fmt.Errorf("bad hard link")
		}
		f = o.files[p]
	}
	p, _, err := o.at(it.hdr.Name, true)
	if err != nil {
		return err
	}
	if old := o.files[p]; old == nil || old.kind != tar.TypeDir || f.kind != tar.TypeDir {
		o.remove(p)
	}
	o.files[p] = f
	return nil
}

// dump writes what dump of helpers_test.go writes.
func (o *oracle) dump() string {
	var paths []string
	for p := range o.files {
		if p != "" {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	var b strings.Builder
	first := make(map[*oracleFile]string)
	for _, p := range paths {
		f := o.files[p]
		if old, ok := first[f]; ok {
			fmt.Fprintf(&b, "%s = %s\n", p, old)
			continue
		}
		first[f] = p
		switch {
		case f.kind == tar.TypeDir && f.implied:
			fmt.Fprintf(&b, "%s/ 755 implied\n", p)
		case f.kind == tar.TypeDir:
			fmt.Fprintf(&b, "%s/ %o\n", p, f.mode)
		case f.kind == tar.TypeSymlink:
			fmt.Fprintf(&b, "%s -> %s\n", p, f.text)
		default:
			fmt.Fprintf(&b, "%s %o %q\n", p, f.mode, f.text)
		}
	}
	return b.String()
}

// layersFrom turns fuzz input into layers: three bytes make an entry.
func layersFrom(ops []byte) [][]item {
	names := []string{"a", "b", "c", "a/a", "a/b", "a/c", "b/a", "b/b", "b/c", "a/a/a", "a/b/c", "c/a/b", "b/c/a/a"}
	targets := []string{"a", "b", "/a", "/b/a", "..", "../b", "a/..", "c", "/", ".", "a/b/../c", "../../../c/a", "nowhere/x", "/../b"}
	layers := [][]item{nil}
	for i := 0; i+2 < len(ops); i += 3 {
		name, x := names[int(ops[i+1])%len(names)], int(ops[i+2])
		d, base := oracleSplit(name)
		if d != "" {
			d += "/"
		}
		var it item
		switch ops[i] % 9 {
		case 0, 1:
			it = file(name, fmt.Sprint(i))
			it.hdr.Mode = int64(x)
		case 2, 3:
			it = dir(name, int64(x))
		case 4:
			it = symlink(name, targets[x%len(targets)])
		case 5:
			it = hardlink(name, names[x%len(names)])
		case 6:
			it = file(d+".wh."+base, "")
		case 7:
			it = file(d+".wh..wh..opq", "")
		case 8:
			layers = append(layers, nil)
			continue
		}
		layers[len(layers)-1] = append(layers[len(layers)-1], it)
	}
	return layers
}

// FuzzFlatten compares Flatten with the oracle.
func FuzzFlatten(f *testing.F) {
	f.Add([]byte{0, 3, 7, 8, 0, 0, 6, 3, 0, 0, 4, 1})
	f.Add([]byte{4, 0, 1, 0, 4, 4, 8, 0, 0, 2, 0, 0, 7, 4, 0, 0, 3, 3})
	f.Add([]byte{0, 0, 1, 5, 1, 0, 8, 0, 0, 0, 0, 2, 5, 4, 0, 4, 2, 11, 0, 11, 3})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 300 {
			return
		}
		compareWithOracle(t, layersFrom(ops))
	})
}

func compareWithOracle(t *testing.T, layers [][]item) {
	t.Helper()
	o := newOracle()
	var indexed []*Layer
	var oracleErr error
	for _, items := range layers {
		data := tarOf(t, items...)
		l, err := Index(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		indexed = append(indexed, l)
		if oracleErr == nil {
			oracleErr = o.apply(data)
		}
	}
	tree, err := Flatten(indexed...)
	if (err != nil) != (oracleErr != nil) {
		t.Fatalf("Flatten: %v; oracle: %v", err, oracleErr)
	}
	if err != nil {
		return
	}
	if got, want := dump(t, tree), o.dump(); got != want {
		t.Fatalf("Flatten:\n%s\noracle:\n%s", got, want)
	}
}

// TestFlattenRandom is FuzzFlatten over inputs from a fixed seed, so that an
// ordinary test run compares a few thousand stacks of layers.
func TestFlattenRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		ops := make([]byte, rnd.IntN(120))
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		compareWithOracle(t, layersFrom(ops))
	}
}
