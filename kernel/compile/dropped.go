package compile

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"hooksmith/kernel/kconfig"
)

// tellDropped warns of what the configuration asks for and the kernel's
// olddefconfig did not take, which says nothing itself: a symbol that this
// kernel does not have, or whose dependencies are not met.
func (w *Workspace) tellDropped(ctx context.Context, b *Builder) error {
	asked, err := kconfig.Parse(bytes.NewReader(w.spec.Config))
	if err != nil {
		return fmt.Errorf("kernel configuration %s: %w", w.spec.ConfigName, err)
	}
	data, err := w.ReadFile(ctx, ".config")
	if err != nil {
		return err
	}
	got, err := kconfig.Parse(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("reading .config of the kernel: %w", err)
	}
	const most = 10
	if all := dropped(asked, got); len(all) > 0 {
		list := strings.Join(all[:min(len(all), most)], ", ")
		if len(all) > most {
			list += fmt.Sprintf(" and %d more", len(all)-most)
		}
		b.log().Warn(fmt.Sprintf("the kernel does not take all of the configuration (hooksmith kernel-config --set CONFIG_X=y says why): %s", list), "configuration", w.spec.ConfigName)
	}
	return nil
}

// probed are symbols that nobody sets: what the compiler and the architecture
// can do. A whole .config has them.
var probed = regexp.MustCompile(`^(CC|GCC|CLANG|AS|LD|LLD|RUSTC?|BINDGEN|PAHOLE|TOOLS|HAVE|ARCH|CAN)_|_VERSION(_TEXT)?$`)

// dropped are the symbols that have another value than was asked for.
func dropped(asked, got kconfig.Config) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		want, now := asked[name], cmp.Or(got[name], "n")
		switch {
		case want == now, probed.MatchString(name):
		case now == "n" && (want == `""` || want == "0" || want == "0x0"): // a text or number of something that is off
		default:
			list = append(list, fmt.Sprintf("CONFIG_%s=%s (it is %s)", name, want, now))
		}
	}
	return list
}
