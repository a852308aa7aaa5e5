package boottest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/build/initramfs"
	"hooksmith/build/rootfs"
	"hooksmith/cmd/hooksmith/internal/qemu"
	"hooksmith/cmd/hooksmith/internal/qemutest"
)

// The kernel makes of an archive of several segments, of all the compressions
// mixed, exactly the tree that went into them.
func TestKernelUnpacks(t *testing.T) {
	m := artifacts(t)
	if m.Arch != qemu.AMD64 {
		t.Skip("one architecture is enough")
	}
	tree := unpackTree(t)
	program, err := rootfs.New(map[string]*rootfs.Inode{"init": rootfs.NewFile(0o755, buildStatic(t, m.Arch, "./testdata/unpack"))})
	if err != nil {
		t.Fatal(err)
	}
	// A path is in the segment that its first letter says, links of one file together.
	part := func(letters string) *rootfs.Tree {
		return tree.Keep(func(p string, _ *rootfs.Inode) bool { return strings.ContainsRune(letters, rune(p[0])) })
	}
	segments := []initramfs.Segment{
		{Name: "program", Tree: program, Compression: initramfs.Gzip},
		{Name: "plain", Tree: part("ab"), Compression: initramfs.None},
		{Name: "zstd", Tree: part("cd"), Compression: initramfs.Zstd},
		{Name: "gzip", Tree: part("ef"), Compression: initramfs.Gzip},
		{Name: "plain again", Tree: part("gh"), Compression: initramfs.None},
		{Name: "zstd again", Tree: part("ln"), Compression: initramfs.Zstd, Level: 20},
		{Name: "far back", Tree: part("r"), Compression: initramfs.Zstd},
	}
	m.Initrd = filepath.Join(t.TempDir(), "initrd")
	f, err := os.Create(m.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	infos, err := initramfs.Write(t.Context(), f, segments, initramfs.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if last := infos[len(infos)-1]; last.Size > last.Unpacked-24<<20 {
		t.Errorf("%d bytes became %d: little of what is far back was found", last.Unpacked, last.Size)
	}
	want := describeTree(t, tree)
	v := qemutest.Boot(t, m)
	v.Wait(fmt.Sprintf(`unpack: end of %d, <nil>`, len(want)))
	var got []string
	for l := range strings.Lines(v.Text()) {
		if _, entry, ok := strings.Cut(strings.TrimRight(l, "\r\n"), "unpack: "); ok && !strings.HasPrefix(entry, "end of") {
			got = append(got, entry)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("the kernel made\n%s\nof\n%s", got[i], want[i])
		}
	}
}

// unpackTree has what is awkward: long names, links, devices, odd modes and
// owners, empty and large files, many of them.
func unpackTree(t *testing.T) *rootfs.Tree {
	t.Helper()
	long := strings.Repeat("n", 200)
	deep := strings.TrimSuffix(strings.Repeat(long+"/", 4000/201), "/")
	deep += "/" + strings.Repeat("e", 4000-len(deep)-1)
	linked := rootfs.NewFile(0o640, []byte("three names"))
	inodes := map[string]*rootfs.Inode{
		"a/empty": rootfs.NewFile(0, nil), "b/one": rootfs.NewFile(0o4711, []byte{0}),
		"c/large": rootfs.NewFile(0o644, []byte(strings.Repeat("0123456789abcdef", 1<<17))),
		"d/x":     linked, "d/y": linked, "d/under/z": linked,
		"e/char": {Mode: unix.S_IFCHR | 0o600, Major: 259, Minor: 300}, "e/block": {Mode: unix.S_IFBLK | 0o660, GID: 6, Major: 8, Minor: 1},
		"e/fifo": {Mode: unix.S_IFIFO | 0o622}, "f/link": {Mode: unix.S_IFLNK | 0o777, Target: "../nowhere/" + long},
		"g/dir":    {Mode: unix.S_IFDIR | 0o1777, UID: 1 << 20, GID: 65534, ModTime: time.Unix(1e9, 0)},
		"h/ü b\tc": rootfs.NewFile(0o600, []byte("bytes")), deep: rootfs.NewFile(0o644, []byte("4,000 bytes of name")),
		"l/TRAILER!!": rootfs.NewFile(0o644, []byte("not a trailer")),
	}
	for i := range 100 {
		inodes[fmt.Sprintf("%c/many/%03d", "abcdefgh"[i%8], i)] = rootfs.NewFile(0o644, []byte(strings.Repeat("x", i)))
	}
	for name, content := range farBack() {
		inodes["r/"+name] = rootfs.NewFile(0o644, content)
	}
	tree, err := rootfs.New(inodes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// farBack are files of which one repeats the other, 32 to 62 MiB back, farther
// than other encoders look: in pieces of all sizes, with changes, runs and short
// repetitions between, after blocks that do not compress.
func farBack() map[string][]byte {
	const mib = 1 << 20
	random := rand.NewChaCha8([32]byte{1})
	first := make([]byte, 36*mib)
	_, _ = random.Read(first)
	var second []byte
	for n := 64; len(second) < 26*mib; n = n%300_000 + n/3 + 1 {
		from := int(random.Uint64() % uint64(len(second)+4*mib))
		second = append(second, first[from:min(from+n, len(first))]...)
		second = append(append(second, bytes.Repeat(first[:n%5+1], n%400)...), byte(n))
	}
	return map[string][]byte{"1": first, "2": second}
}

// describeTree is what testdata/unpack prints of a tree.
func describeTree(t *testing.T, tree *rootfs.Tree) (lines []string) {
	t.Helper()
	names := map[*rootfs.Inode]int{}
	_ = tree.Walk(func(_ string, n *rootfs.Inode) error { names[n]++; return nil })
	err := tree.Walk(func(path string, n *rootfs.Inode) error {
		content, links := "", 1
		switch n.Type() {
		case unix.S_IFREG:
			b, err := io.ReadAll(n.Open())
			content, links = fmt.Sprintf("%x %v", sha256.Sum256(b), err), names[n]
		case unix.S_IFLNK:
			content = n.Target
		case unix.S_IFCHR, unix.S_IFBLK:
			content = fmt.Sprintf("%d:%d", n.Major, n.Minor)
		}
		if len(path) > 100 {
			path = fmt.Sprintf("%x of %d", sha256.Sum256([]byte(path)), len(path))
		}
		modified := max(n.ModTime.Unix(), 0)
		lines = append(lines, fmt.Sprintf("%s|%o|%d:%d|%d|%d|%s", path, n.Mode, n.UID, n.GID, modified, links, content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
