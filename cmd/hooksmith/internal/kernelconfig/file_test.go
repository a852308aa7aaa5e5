package kernelconfig

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	for _, tt := range []struct {
		name      string
		read, now string // "": there was, or is, no file
		want      string
		changed   bool
	}{
		{"new", "", "", "new", false},
		{"as it was", "old", "old", "new", false},
		{"changed meanwhile", "old", "other", "other", true},
		{"made meanwhile", "", "other", "other", true},
		{"removed meanwhile", "old", "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "configs", "kernel", "name")
			if tt.now != "" {
				write(t, path, tt.now)
			}
			f := &File{Path: path, Data: []byte(tt.read), New: tt.read == ""}
			err := f.Replace([]byte("new"))
			var changed *ChangedError
			if errors.As(err, &changed) != tt.changed || !tt.changed && err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(path); string(got) != tt.want {
				t.Errorf("the file is %q, want %q", got, tt.want)
			}
			if tt.changed {
				if got, err := os.ReadFile(changed.Saved); err != nil || string(got) != "new" {
					t.Errorf("%s is %q, %v", changed.Saved, got, err)
				}
			}
			left, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(left) > 2 {
				t.Errorf("%v, %v", left, err)
			}
		})
	}
}

// A symbolic link stays one, and modes stay.
func TestReplaceKeeps(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	write(t, real, "old")
	if err := errors.Join(os.Chmod(real, 0o600), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	f, err := OpenOutput(link)
	if err != nil || string(f.Data) != "old" || f.New {
		t.Fatalf("%+v, %v", f, err)
	}
	if err := f.Replace([]byte("new")); err != nil {
		t.Fatal(err)
	}
	st, err := os.Lstat(link)
	if err != nil || st.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link: %v, %v", st.Mode(), err)
	}
	if st, err = os.Stat(real); err != nil || st.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", st.Mode(), err)
	}
	if f, err := OpenOutput(filepath.Join(dir, "none")); err != nil || !f.New {
		t.Errorf("no file: %+v, %v", f, err)
	}
	if _, err := OpenOutput(dir); err == nil {
		t.Error("a folder: no error")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestParseFragment(t *testing.T) {
	f, err := ParseFragment("a.config", []byte("# why\nCONFIG_A=y\n# CONFIG_B is not set\n"))
	if err != nil || len(f.Config) != 2 {
		t.Errorf("%+v, %v", f, err)
	}
	for text, want := range map[string]string{"": "sets no symbol", "# only\n": "sets no symbol", "A=y": "line 1: "} {
		if _, err := ParseFragment("a.config", []byte(text)); err == nil || !strings.Contains(err.Error(), "--fragment a.config: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// archive is a kernel's source whose tar ends with an error, or not.
type archive struct {
	data []byte
	end  error
}

func (a archive) Version() string { return "6.12.1" }
func (a archive) Hash() string    { return "1" }
func (a archive) String() string  { return "test" }
func (a archive) Tar(context.Context) (io.ReadCloser, error) {
	r := io.Reader(bytes.NewReader(a.data))
	if a.end != nil {
		r = io.MultiReader(r, failing{a.end})
	}
	return io.NopCloser(r), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestTrim(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range []string{
		"linux/Kconfig", "linux/Makefile", "linux/scripts/kconfig/mconf.c", "linux/drivers/net/Kconfig.debug", "linux/drivers/net/a.c",
		"linux/arch/x86/include/asm/setup.h", "linux/arch/x86/include/asm/page.h", "linux/arch/x86/configs/x86_64_defconfig", "linux/Documentation/a.rst", "linux/localversion-rt",
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	derive := func(ctx context.Context, key string, mk func(context.Context, io.Writer) error) (*os.File, error) {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			return nil, err
		}
		if err := mk(ctx, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		_, err = f.Seek(0, io.SeekStart)
		return f, err
	}
	r, err := Trim(archive{b.Bytes(), nil}, derive).Tar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err != nil {
			break
		}
		got = append(got, strings.TrimPrefix(h.Name, "linux/"))
	}
	want := []string{
		"Kconfig", "Makefile", "scripts/kconfig/mconf.c", "drivers/net/Kconfig.debug", "arch/x86/include/asm/setup.h",
		"arch/x86/configs/x86_64_defconfig", "localversion-rt",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	wrong := errors.New("wrong hash")
	if _, err := Trim(archive{b.Bytes(), wrong}, derive).Tar(t.Context()); !errors.Is(err, wrong) {
		t.Errorf("what is not what it should be: %v", err)
	}
}

// TestReplaceNowhere: what cannot be written is not lost, and that it cannot be
// is known before.
func TestReplaceNowhere(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	write(t, filepath.Join(dir, "configs"), "a file where a folder is wanted")
	f := &File{Path: filepath.Join(dir, "configs", "kernel", "name"), New: true}
	if err := f.Writable(); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("below a file: %v", err)
	}
	err := f.Replace([]byte("new"))
	_, saved, ok := strings.Cut(fmt.Sprint(err), "your configuration is in ")
	if got, _ := os.ReadFile(saved); !ok || string(got) != "new" {
		t.Errorf("%v: %q", err, got)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	if err := f.Replace([]byte("new")); err == nil || !strings.Contains(err.Error(), "saving your configuration elsewhere") {
		t.Errorf("nowhere: %v", err)
	}
	for _, path := range []string{filepath.Join(dir, "name"), filepath.Join(dir, "new", "folder", "name"), "name", filepath.Join("new", "name")} {
		if err := (&File{Path: path, New: true}).Writable(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "new*")); err != nil || left != nil {
		t.Errorf("it made %q, %v", left, err)
	}
}
