package network

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOverwriteFile checks that a file keeps its inode, so that containers it is bound into see the change.
func TestOverwriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolvconf/resolv.conf")
	var first os.FileInfo
	for _, contents := range []string{"nameserver 1.1.1.1\n", "search example.org\nnameserver 1.1.1.1\n", "nameserver 9.9.9.9\n", "nameserver 9.9.9.9\n", ""} {
		if err := overwriteFile(path, []byte(contents)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != contents {
			t.Errorf("the file has %q, %v, want %q", got, err, contents)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = info
		}
		if !os.SameFile(first, info) {
			t.Error("the file is another one now")
		}
	}
}

func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "network/ntp")
	for _, contents := range []string{"a\n", "b\n", ""} {
		if err := replaceFile(path, []byte(contents)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != contents {
			t.Errorf("the file has %q, %v, want %q", got, err, contents)
		}
	}
	if err := replaceFile("/dev/null/x", nil); err == nil {
		t.Error("no error for a file that cannot be")
	}
}
