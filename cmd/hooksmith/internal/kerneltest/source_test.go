package kerneltest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"

	"hooksmith/build/debian"
	"hooksmith/cmd/hooksmith/internal/kernelsource"
	"hooksmith/configs"
)

// trimSource makes Debian's source of Linux 6.12 a plain tar without most of
// what is compiled: a tenth of it. Kconfig and makefiles are all there, so that
// it is configured as the whole.
func (l *lab) trimSource(ctx context.Context) error {
	if _, err := os.Stat(l.trimmed); err == nil {
		return nil
	}
	f, err := os.Create(l.trimmed + ".part")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(l.trim(ctx, f), f.Close()); err != nil {
		return fmt.Errorf("cutting Debian's source down: %w", err)
	}
	return os.Rename(f.Name(), l.trimmed)
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

// unused is what no test but TestKernel compiles, which has the whole source:
// what is compiled of this one is the beginning, and init, kernel and mm.
var unused = regexp.MustCompile(`^(Documentation|LICENSES|drivers|sound|samples|tools/(testing|perf)|` +
	`arch/(alpha|arc|arm|csky|hexagon|loongarch|m68k|microblaze|mips|nios2|openrisc|parisc|powerpc|riscv|s390|sh|sparc|xtensa))/|` +
	`^(fs|net|crypto)/.*\.c$|^arch/arm64/boot/dts/.*\.dtsi?$`)

func wanted(name string) bool {
	base := path.Base(name)
	return !unused.MatchString(name) || strings.HasPrefix(base, "Kconfig") || strings.HasPrefix(base, "Makefile") || strings.HasPrefix(base, "Kbuild")
}
