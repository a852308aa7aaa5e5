package modules

import (
	"fmt"
	"path"
	"reflect"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"*", "", true}, {"*", "a/b", true}, {"a?c", "a/c", true},
		{"pci:v00008086d00001521sv*sd*bc*sc*i*", "pci:v00008086d00001521sv00008086sd00000001bc02sc00i00", true},
		{"pci:v00008086d00001521sv*sd*bc*sc*i*", "pci:v00008086d00001522sv00008086sd00000001bc02sc00i00", false},
		{"of:N*T*Cti,omap-gpio*", "of:NgpioT(null)Cti,omap_gpio", true},
		{"a-b", "a_b", true}, {"a_b", "a_b", true}, {`a\*b`, "a*b", true}, {`a\*b`, "axb", false}, {`a\`, `a\`, true},
		{"[ab]c", "bc", true}, {"[!ab]c", "bc", false}, {"[^ab]c", "xc", true}, {"[a-c]", "b", true}, {"[a-c]", "d", false},
		{"[]]", "]", true}, {"[!]]", "]", false}, {"[", "[", true}, {"[a", "[a", true}, {"[!", "[!", true}, {"[a-]", "-", true},
		{"usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v0781p5567d0100dc00dsc00dp00ic08isc06ip50in00", true},
		{"*a*b*c", "xxaxxbxxc", true}, {"*a*b*c", "xxaxxbxx", false}, {"a**", "a", true},
		{"cpu:type:x86,ven*fam*mod*:feature:*0081*", "cpu:type:x86,ven0000fam0006mod0055:feature:,0000,0081,0090", true},
		{"dmi*:svn*Dell*:pn*", "dmi:bvnX:svnDell Inc.:pnPowerEdge:", true},
	}
	for _, test := range tests {
		if got := glob(test.pattern, test.s); got != test.want {
			t.Errorf("glob(%q, %q) = %v", test.pattern, test.s, got)
		}
	}
}

// FuzzGlob compares with path.Match where the two agree on the meaning: no slash, no dash, and classes that end.
func FuzzGlob(f *testing.F) {
	f.Add("a*b?[c_e]", "axxbyd")
	f.Add(`[^a]\*`, "b*")
	f.Add("[]a]", "]")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := glob(pattern, s)
		for _, r := range pattern + s {
			if r == '/' || r == '-' || r == '!' || r >= 0x7f {
				return
			}
		}
		// path.Match refuses an empty class and treats a backslash in one as an escape.
		if strings.Contains(pattern, "[]") || strings.Contains(pattern, "[^]") || strings.Contains(pattern, "[") && strings.Contains(pattern, `\`) {
			return
		}
		want, err := path.Match(pattern, s)
		if err != nil {
			return
		}
		if got != want {
			t.Errorf("glob(%q, %q) = %v, path.Match says %v", pattern, s, got, want)
		}
	})
}

const aliasText = `# Aliases extracted from modules themselves.
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias virtio:d00000004v* virtio-rng
alias virtio:d00000001v* virtio_net
alias fs-ext4 ext4
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias *everything* odd
alias of:N* T*Cwith,space spaced
alias
alias short
blacklist virtio_net
`

func TestMatchAliases(t *testing.T) {
	queries := []string{"virtio:d00000001v00001AF4", "pci:v00001AF4d00001000sv0sd0bc02sc00i00", "fs_ext4", "crc32c", "nothing", "of:Nx Ty_Cwith,space", "has everything"}
	want := [][]string{{"virtio_net"}, {"virtio_pci"}, {"ext4"}, {"crc32c_generic", "crc32c_intel"}, nil, {"spaced"}, {"odd"}}
	if got := matchAliases(queries, aliasText); !reflect.DeepEqual(got, want) {
		t.Errorf("matchAliases = %q\nwant %q", got, want)
	}
	if got := matchAliases(nil, aliasText); len(got) != 0 {
		t.Errorf("matchAliases of nothing = %q", got)
	}
}

// BenchmarkMatchAliases has the size of Debian's full kernel on a server.
func BenchmarkMatchAliases(b *testing.B) {
	var text strings.Builder
	for i := range 27000 {
		fmt.Fprintf(&text, "alias pci:v%08Xd%08Xsv*sd*bc*sc*i* module_%d\n", i%300, i, i%1500)
	}
	var queries []string
	for i := range 300 {
		queries = append(queries, fmt.Sprintf("pci:v%08Xd%08Xsv00008086sd00000001bc02sc00i00", i, i+i*300))
	}
	b.ReportAllocs()
	for b.Loop() {
		matchAliases(queries, text.String())
	}
}
