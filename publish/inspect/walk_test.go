package inspect

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"hooksmith/build/initramfs"
	"hooksmith/publish/hooktest"
)

func TestWalk(t *testing.T) {
	one := func(name string) []byte { return hooktest.Archive(hooktest.Entry{Name: name, Data: "data of " + name}) }
	file := slices.Concat(hooktest.Pad(one("plain")), hooktest.Pad(hooktest.Zstd(one("zstd"))), hooktest.LZ4(one("lz4")))
	artifact := &Artifact{ReaderAt: bytes.NewReader(file), Name: "initramfs", Size: int64(len(file))}
	var names []string
	var last int64 = -1
	err := Walk(t.Context(), artifact, func(e initramfs.Entry, content io.Reader) error {
		b, err := io.ReadAll(content)
		if string(b) != "data of "+e.Name || e.Offset <= last {
			t.Errorf("%s at %d: %q", e.Name, e.Offset, b)
		}
		last = e.Offset
		names = append(names, e.Name)
		return err
	})
	if err != nil || !slices.Equal(names, []string{"plain", "zstd", "lz4"}) {
		t.Errorf("%q, %v", names, err)
	}
	stop := errors.New("enough")
	if err := Walk(t.Context(), artifact, func(initramfs.Entry, io.Reader) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}
