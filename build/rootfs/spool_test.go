package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
)

func TestUnpacked(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/motd", Size: 2, Mode: 0o644}), onlyErr(w.Write([]byte("hi"))), w.Close()); err != nil {
		t.Fatal(err)
	}
	whole := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	err := Unpacked(whole, func(tree *Tree) error {
		b, err := io.ReadAll(tree.Lookup("etc/motd").Open())
		if string(b) != "hi" {
			t.Errorf("content %q", b)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	for name, err := range map[string]error{
		"of open": Unpacked(func() (io.ReadCloser, error) { return nil, broken }, nil),
		"of fn":   Unpacked(whole, func(*Tree) error { return broken }),
	} {
		if !errors.Is(err, broken) {
			t.Errorf("error %s: %v", name, err)
		}
	}
	if err := Unpacked(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes()[:513])), nil }, nil); err == nil {
		t.Error("a tar that is cut off was accepted")
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func onlyErr(_ int, err error) error { return err }
