package logfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRotation(t *testing.T) {
	tests := []struct {
		name          string
		before        string
		writes        []string
		current, last string
	}{
		{"fits", "", []string{"12345", "67890"}, "1234567890", ""},
		{"over", "", []string{"12345", "67890", "x"}, "x", "1234567890"},
		{"twice", "", []string{"1234567890", "abcdefghij", "x"}, "x", "abcdefghij"},
		{"append", "12345678", []string{"ab", "c"}, "c", "12345678ab"},
		{"large", "1", []string{strings.Repeat("z", 30), "y"}, "y", strings.Repeat("z", 30)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sub", "x.log")
			if test.before != "" {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(test.before), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			l, err := Open(path, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range test.writes {
				if n, err := l.Write([]byte(s)); err != nil || n != len(s) {
					t.Fatalf("Write(%q) = %d, %v", s, n, err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			expect(t, path, test.current)
			expect(t, path+".1", test.last)
		})
	}
}

func TestRotationWithoutRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	// A folder where the old log would go makes rename fail.
	if err := os.MkdirAll(filepath.Join(path+".1", "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 5 {
		if _, err := l.Write([]byte("12345678")); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, path, "12345678")
}

func TestClosed(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "x.log"), 0)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := l.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func expect(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil && !(want == "" && errors.Is(err, os.ErrNotExist)) {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s holds %q, want %q", path, got, want)
	}
}
