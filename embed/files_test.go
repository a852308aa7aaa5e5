package embed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// files describes all that a container sees, by path: type and mode, owner,
// device, names, time, attributes, target and content.
func (d *dockerd) files(t *testing.T, ref string) map[string]string {
	t.Helper()
	id, pid := d.start(t, ref, "/bin/sleep", "1000")
	defer d.remove(t, id)
	root := fmt.Sprintf("/proc/%d/root", pid)
	docker := []string{"proc", "sys", "dev", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"}
	out := map[string]string{}
	err := filepath.WalkDir(root+"/.", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if slices.Contains(docker, rel) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		out[rel], err = describe(path)
		return err
	})
	if err != nil {
		t.Fatalf("the files of %s: %v", ref, err)
	}
	return out
}

func describe(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	text := fmt.Sprintf("mode %o owner %d:%d", st.Mode, st.Uid, st.Gid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR: // their times and links are the file system's business
	case unix.S_IFREG:
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(b)
		text += fmt.Sprintf(" names %d time %d content %d %s", st.Nlink, st.Mtim.Sec, len(b), hex.EncodeToString(sum[:]))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf(" time %d target %s", st.Mtim.Sec, target)
	default:
		text += fmt.Sprintf(" time %d device %d:%d", st.Mtim.Sec, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return "", fmt.Errorf("attributes of %s: %w", path, err)
	}
	names := strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	for _, name := range names {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf(" %s=%q", name, value[:n])
	}
	return text, nil
}

func diffFiles(t *testing.T, image string, got, want map[string]string) {
	t.Helper()
	if len(want) < 20 {
		t.Errorf("%s: only %d files to compare", image, len(want))
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got[path] != want[path] {
			t.Errorf("%s: %s\n got %q\nwant %q", image, path, got[path], want[path])
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %s is there, and docker has none", image, path)
		}
	}
}
