package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hooksmith/build/rootfs"
)

type files = map[string]*rootfs.Inode

func file(perm uint32, body string) *rootfs.Inode {
	n := rootfs.NewFile(perm, []byte(body))
	n.ModTime = time.Unix(1700000000, 0)
	return n
}

func node(mode uint32) *rootfs.Inode {
	return &rootfs.Inode{Mode: mode, ModTime: time.Unix(1600000000, 0)}
}

func symlink(target string) *rootfs.Inode {
	return &rootfs.Inode{Mode: rootfs.ModeLink | 0o777, Target: target, ModTime: time.Unix(1650000000, 0)}
}

func device(mode, major, minor uint32) *rootfs.Inode {
	return &rootfs.Inode{Mode: mode, Major: major, Minor: minor}
}

func treeOf(t testing.TB, f files) *rootfs.Tree {
	t.Helper()
	tree, err := rootfs.New(f)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// sample is a small tree with one of everything.
func sample(t testing.TB) *rootfs.Tree {
	t.Helper()
	busybox := file(0o4755, strings.Repeat("busybox ", 1000))
	return treeOf(t, files{
		".":                            node(rootfs.ModeDir | 0o755),
		"bin/busybox":                  busybox,
		"bin/sh":                       busybox,
		"sbin/init":                    busybox,
		"dev/console":                  device(rootfs.ModeChar|0o600, 5, 1),
		"dev/sda":                      device(rootfs.ModeBlock|0o660, 8, 0),
		"dev/big":                      device(rootfs.ModeBlock|0o660, 4095, 1048575),
		"dev/initctl":                  device(rootfs.ModeFifo|0o600, 0, 0),
		"dev/whiteout":                 device(rootfs.ModeChar, 0, 0),
		"etc":                          {Mode: rootfs.ModeDir | 0o750, UID: 7, GID: 4294967294},
		"etc/empty":                    file(0o644, ""),
		"etc/one":                      file(0o600, "1"),
		"etc/Zoë 日本":                   file(0o644, "names"),
		"lib":                          symlink("usr/lib"),
		"usr/lib/x":                    file(0o644, "xyz"),
		strings.Repeat("d/", 60) + "e": file(0o644, "deep"),
	})
}

// write returns the initramfs of the segments.
func write(t testing.TB, segments ...Segment) ([]byte, []Info) {
	t.Helper()
	var out bytes.Buffer
	infos, err := Write(t.Context(), &out, segments, Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), infos
}

// list describes an initramfs as Read sees it, one record a line.
func list(t testing.TB, data []byte) string {
	t.Helper()
	var b strings.Builder
	err := Read(bytes.NewReader(data), Limits{}, func(e Entry, r io.Reader) error {
		body, err := io.ReadAll(r)
		if err != nil || int64(len(body)) != e.Size {
			return fmt.Errorf("%s: %d of %d bytes: %v", e.Name, len(body), e.Size, err)
		}
		fmt.Fprintf(&b, "%d %-4s %06o %d:%d ino=%d links=%d t=%d", e.Segment, e.Compression, e.Mode, e.UID, e.GID, e.Ino, e.Links, e.ModTime.Unix())
		if e.Major|e.Minor != 0 {
			fmt.Fprintf(&b, " dev=%d:%d", e.Major, e.Minor)
		}
		fmt.Fprintf(&b, " %s", e.Name)
		if e.Target != "" {
			fmt.Fprintf(&b, " -> %s", e.Target)
		}
		if len(body) > 20 {
			fmt.Fprintf(&b, " %d bytes", len(body))
		} else if e.Mode&rootfs.ModeType == rootfs.ModeFile {
			fmt.Fprintf(&b, " %q", body)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// tool skips the test if a program is absent.
func tool(t testing.TB, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return p
}

// run runs a program and returns what it prints.
func run(t testing.TB, dir string, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(tool(t, args[0]), args[1:]...)
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

// wantEmpty checks that no temporary file is left.
func wantEmpty(t testing.TB, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}

// unpack applies a list of records to a map as the kernel does to a file
// system, so that segments can be compared with a merged tree: path -> line.
func unpack(t testing.TB, data []byte) map[string]string {
	t.Helper()
	type inode struct{ segment, ino int }
	content := make(map[inode]*string)
	at := make(map[string]*string)
	desc := make(map[string]string)
	err := Read(bytes.NewReader(data), Limits{}, func(e Entry, r io.Reader) error {
		body, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		text := string(body)
		if e.Mode&rootfs.ModeType == rootfs.ModeFile {
			key := inode{e.Segment, int(e.Ino)}
			old := content[key]
			switch {
			case old == nil:
				content[key], at[e.Name] = &text, &text
			default:
				at[e.Name] = old
				if text != "" {
					*old = text
				}
			}
		} else {
			delete(at, e.Name)
		}
		desc[e.Name] = fmt.Sprintf("%o %d:%d %d:%d %s", e.Mode, e.UID, e.GID, e.Major, e.Minor, e.Target)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Collect(maps.Keys(desc)) {
		if c := at[name]; c != nil {
			desc[name] += *c
		}
	}
	return desc
}

func readFile(t testing.TB, p string) []byte {
	t.Helper()
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
