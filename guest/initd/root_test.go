package initd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/proctest"
)

// makeTree fills a folder with everything that a root holds, and describe tells what is in one.
func makeTree(t *testing.T, dir string) {
	t.Helper()
	write(t, dir+"/usr/bin/busybox", "program", 0o755)
	write(t, dir+"/etc/shadow", "secret", 0o600)
	write(t, dir+"/usr/bin/su", "setuid", 0o755)
	when := time.Unix(1492533000, 0)
	steps := []error{
		os.Link(dir+"/usr/bin/busybox", dir+"/usr/bin/sh"),
		os.Link(dir+"/usr/bin/busybox", dir+"/zz"),
		os.Symlink("usr/bin", dir+"/bin"),
		os.Symlink("/nonexistent", dir+"/dangling"),
		os.MkdirAll(dir+"/tmp", 0o755), os.Chmod(dir+"/tmp", 0o777|os.ModeSticky),
		os.MkdirAll(dir+"/root", 0o700),
		os.Lchown(dir+"/usr/bin/su", 12, 34), os.Lchown(dir+"/dangling", 5, 6),
		os.Chmod(dir+"/usr/bin/su", 0o755|os.ModeSetuid),
		unix.Mknod(dir+"/whiteout", unix.S_IFCHR|0o600, 0),
		unix.Mkfifo(dir+"/fifo", 0o622),
		os.Chtimes(dir+"/etc/shadow", when, when), os.Chtimes(dir+"/etc", when, when),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
}

func describe(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var s unix.Stat_t
		if err := unix.Lstat(path, &s); err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		line := fmt.Sprintf("%s %o %d:%d rdev %d", rel, s.Mode, s.Uid, s.Gid, s.Rdev)
		if !e.IsDir() || rel == "etc" { // the times of other folders are those of the test's own work
			line += fmt.Sprint(" ", s.Mtim.Sec)
		}
		if target, err := os.Readlink(path); err == nil {
			line += " -> " + target
		}
		if e.Type().IsRegular() {
			text, _ := os.ReadFile(path)
			line += fmt.Sprintf(" %q", text)
			if s.Nlink > 1 {
				if inodes[s.Ino] == "" {
					inodes[s.Ino] = rel
				}
				line += fmt.Sprintf(" %d names, first %s", s.Nlink, inodes[s.Ino])
			}
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return lines
}

func TestMoveTree(t *testing.T) {
	if !proctest.Inside(t, 0) {
		return
	}
	from := t.TempDir()
	makeTree(t, from)
	want := describe(t, from)
	if err := os.MkdirAll(from+"/mounted", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", from+"/mounted", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(from+"/mounted", 0) }()
	write(t, from+"/mounted/x", "stays", 0o644)
	to := from + "/.newroot"
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", to, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(to, 0) }()

	if err := moveTree(from, to); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(to + "/mounted"); err != nil {
		t.Errorf("the mount point is not an empty folder: %v", err)
	}
	got := describe(t, to)
	// The root of the copy has the mode of the original, whose links count differs only.
	if !slices.Equal(got, want) {
		t.Errorf("copy:\n%s\noriginal:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if readFile(from+"/mounted/x") != "stays" {
		t.Error("a file on another file system is gone")
	}
	if _, err := os.Lstat(from + "/etc/shadow"); err == nil {
		t.Error("the original keeps its memory")
	}
}

// TestFitRoot runs on roots of the two kinds that the kernel makes, in a chroot, and checks that pivot_root(2) works.
func TestFitRoot(t *testing.T) {
	kinds := map[string]bool{"tmpfs": false, "ramfs": true}
	for kind, wantCopied := range kinds {
		t.Run(kind, func(t *testing.T) {
			if !proctest.Inside(t, 0) {
				return
			}
			root := t.TempDir()
			if err := unix.Mount(kind, root, kind, 0, ""); err != nil {
				t.Fatal(err)
			}
			makeTree(t, root)
			if err := errors.Join(os.Mkdir(root+"/proc", 0o755), os.Mkdir(root+"/next", 0o755), unix.Mount("proc", root+"/proc", "proc", 0, "")); err != nil {
				t.Fatal(err)
			}
			old, err := os.Open("/")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { // for the clean-up of the test's folder
				_ = old.Chdir()
				_ = unix.Chroot(".")
				for unix.Unmount(root, unix.MNT_DETACH) == nil { // the root lies on top of another
				}
			}()
			if err := errors.Join(unix.Chroot(root), unix.Chdir("/")); err != nil {
				t.Fatal(err)
			}
			copied, err := fitRoot()
			if err != nil || copied != wantCopied {
				t.Fatalf("fitRoot = %v, %v", copied, err)
			}
			var fs unix.Statfs_t
			if err := unix.Statfs("/", &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
				t.Errorf("the root is of type %#x, %v", fs.Type, err)
			}
			if readFile("/bin/sh") != "program" || readFile("/proc/self/stat") == "" {
				t.Error("files or /proc are gone")
			}
			if _, err := os.Stat(newRoot); err == nil {
				t.Error(newRoot + " is left")
			}
			// What runc does: it makes its mounts private first.
			if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("/next", "/next", "", unix.MS_BIND, ""),
				unix.Chdir("/next"), unix.PivotRoot(".", ".")); err != nil {
				t.Errorf("pivot_root: %v", err)
			}
		})
	}
}

func TestMounted(t *testing.T) {
	if !mounted("/proc") {
		t.Error("/proc is not mounted")
	}
	if mounted(t.TempDir()) || mounted("/nonexistent") {
		t.Error("a plain folder is mounted")
	}
}
