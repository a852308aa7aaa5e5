package kerneltest

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"hooksmith/build/debian"
	"hooksmith/cmd/hooksmith/internal/kernelsource"
	"hooksmith/configs"
)

var trimmed sync.Mutex

// trimmedSource is Debian's source of Linux 6.12 as a plain tar without what
// the small kernel does not compile: a third of it. Kconfig and makefiles are
// all there, so that it is configured as the whole.
func (l *lab) trimmedSource(t *testing.T) string {
	t.Helper()
	trimmed.Lock()
	defer trimmed.Unlock()
	file := filepath.Join(l.dir, "linux-trimmed.tar")
	if _, err := os.Stat(file); err == nil {
		return file
	}
	f, err := os.Create(file + ".part")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	if err := errors.Join(l.trim(t.Context(), f), f.Close(), os.Rename(f.Name(), file)); err != nil {
		t.Fatal(err)
	}
	return file
}

// trim copies Debian's source.
func (l *lab) trim(ctx context.Context, w io.Writer) error {
	src, err := (&kernelsource.Flags{}).Open(ctx, kernelsource.Env{
		Series: "6.12", Configs: configs.FS, Cache: l.cache(), Mirrors: debian.HostMirrors(os.DirFS("/")),
	})
	if err != nil {
		return err
	}
	r, err := src.Tar(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	tw := tar.NewWriter(w)
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeDir && !wanted(strings.TrimPrefix(h.Name, "linux/")) {
			continue
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // verified at its end
		return err
	}
	return tw.Close()
}

// unused are folders of which the small kernel compiles nothing.
var unused = regexp.MustCompile(`^(Documentation|LICENSES|drivers/(gpu|media|staging|infiniband|iio|usb|mtd|scsi|net/(wireless|ethernet|dsa|can))|sound|` +
	`tools/(testing|perf)|arch/(alpha|arc|arm|csky|hexagon|loongarch|m68k|microblaze|mips|nios2|openrisc|parisc|powerpc|riscv|s390|sh|sparc|xtensa))/`)

func wanted(name string) bool {
	base := path.Base(name)
	return !unused.MatchString(name) || strings.HasPrefix(base, "Kconfig") || strings.HasPrefix(base, "Makefile") || strings.HasPrefix(base, "Kbuild")
}
