package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made/file")
	for _, contents := range []string{"a\n", "longer\n", ""} {
		if err := Write(path, []byte(contents)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != contents {
			t.Errorf("the file has %q, %v, want %q", got, err, contents)
		}
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	for _, impossible := range []string{"/dev/null/x", filepath.Dir(path)} {
		if err := Write(impossible, nil); err == nil || !strings.Contains(err.Error(), impossible) {
			t.Errorf("%s: error %v", impossible, err)
		}
	}
}
