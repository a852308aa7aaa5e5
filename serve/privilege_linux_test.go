package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Only a state folder is given away.
func TestGiveTo(t *testing.T) {
	dir, uid, gid := t.TempDir(), os.Getuid(), os.Getgid()
	if err := giveTo(dir, uid, gid); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	odd := filepath.Join(dir, "[a]*")
	if err := os.Mkdir(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(odd, "token"), "")
	if err := os.Mkdir(filepath.Join(odd, "cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := giveTo(odd, uid, gid); err != nil {
		t.Errorf("a folder with a token, before the first start: %v", err)
	}
	for _, name := range []string{".profile", "lib"} { // a home; /var, which has a cache as well
		if err := os.Mkdir(filepath.Join(odd, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := giveTo(odd, uid, gid); err == nil || !strings.Contains(err.Error(), "has "+name+" in it") {
			t.Errorf("a folder of others: %v", err)
		}
		if err := os.Remove(filepath.Join(odd, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(odd, "lib"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(odd, leasesName), "")
	if err := giveTo(odd, uid, gid); err != nil {
		t.Errorf("a state folder: %v", err)
	}
	if err := CheckUser("root"); err == nil {
		t.Error("root is an ordinary user")
	}
	if err := CheckUser("no-such-user"); err == nil || !strings.Contains(err.Error(), "there is no no-such-user") {
		t.Errorf("nobody: %v", err)
	}
}
