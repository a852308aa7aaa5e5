package initramfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/semaphore"
)

// A frame that another decoder does not take, or takes for other content, ends
// the build, and the cache does not keep it.
func TestVerify(t *testing.T) {
	good, infos := write(t, Segment{Name: "s", Tree: cacheTree(t, map[string]string{"f": strings.Repeat("0123456789", 50_000)})})
	good = good[:infos[0].Size]
	for _, tt := range []struct {
		name   string
		change func(p *part, b []byte) []byte
		want   error
	}{
		{"right", func(_ *part, b []byte) []byte { return b }, nil},
		{"another checksum", func(_ *part, b []byte) []byte { b[len(b)-1] ^= 1; return b }, errUndecodable},
		{"another block", func(_ *part, b []byte) []byte { b[len(b)/2] ^= 0xff; return b }, errUndecodable},
		{"cut off", func(p *part, b []byte) []byte { p.info.Size -= 9; return b[:len(b)-9] }, errUndecodable},
		{"too little", func(p *part, b []byte) []byte { p.info.Unpacked++; return b }, errUndecodable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "segment")
			p := part{info: infos[0]}
			if err := os.WriteFile(path, tt.change(&p, append([]byte(nil), good...)), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			p.file = f
			if err := p.verify(t.Context(), semaphore.NewWeighted(192<<20)); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if _, err := os.Stat(path); (err == nil) != (tt.want == nil) {
				t.Errorf("the file in the cache: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := p.verify(ctx, semaphore.NewWeighted(192<<20)); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
}
