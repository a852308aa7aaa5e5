package initramfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sync/semaphore"

	"hooksmith/build/fetch"
)

// A frame that another decoder does not take, or takes for other content, is
// found.
func TestVerify(t *testing.T) {
	good, infos := write(t, Segment{Name: "s", Tree: cacheTree(t, map[string]string{"f": strings.Repeat("0123456789", 50_000)})})
	good = good[:infos[0].Size]
	for _, tt := range []struct {
		name   string
		change func(info *Info, b []byte) []byte
		want   error
	}{
		{"right", func(_ *Info, b []byte) []byte { return b }, nil},
		{"another checksum", func(_ *Info, b []byte) []byte { b[len(b)-1] ^= 1; return b }, errUndecodable},
		{"another block", func(_ *Info, b []byte) []byte { b[len(b)/2] ^= 0xff; return b }, errUndecodable},
		{"cut off", func(info *Info, b []byte) []byte { info.Size -= 9; return b[:len(b)-9] }, errUndecodable},
		{"too little", func(info *Info, b []byte) []byte { info.Unpacked++; return b }, errUndecodable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			info := infos[0]
			r := bytes.NewReader(tt.change(&info, bytes.Clone(good)))
			if _, err := verify(t.Context(), r, info, semaphore.NewWeighted(192<<20)); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := verify(ctx, r, info, semaphore.NewWeighted(192<<20)); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
}

// faulty is a cache on a disk, or with an encoder, that changes a byte.
type faulty struct{ *fetch.Cache }

type flipping struct{ *os.File }

func (f flipping) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	p[len(p)/2] ^= 0x40
	return f.File.Write(p)
}

func (c faulty) Derive(ctx context.Context, key string, mk func(context.Context, io.Writer) error) (*os.File, error) {
	return c.Cache.Derive(ctx, key, func(ctx context.Context, w io.Writer) error { return mk(ctx, flipping{w.(*os.File)}) })
}

// TestVerifyBeforeCache: the cache never has a segment that was not verified,
// so that the next build is not one with a broken initramfs.
func TestVerifyBeforeCache(t *testing.T) {
	cache := &fetch.Cache{Dir: t.TempDir()}
	segments := []Segment{{Name: "s", Tree: cacheTree(t, map[string]string{"f": strings.Repeat("0123456789", 50_000)})}}
	for range 2 {
		opt := Options{TempDir: t.TempDir(), Cache: faulty{cache}}
		if _, err := Write(t.Context(), io.Discard, segments, opt); !errors.Is(err, errUndecodable) {
			t.Fatalf("error %v", err)
		}
	}
	var out, alone bytes.Buffer
	if _, err := Write(t.Context(), &out, segments, Options{TempDir: t.TempDir(), Cache: cache}); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), &alone, segments, Options{TempDir: t.TempDir()}); err != nil || !bytes.Equal(out.Bytes(), alone.Bytes()) {
		t.Errorf("other bytes after a fault: %v", err)
	}
}
