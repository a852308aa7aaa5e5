package modalias

import (
	"path"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"*", "", true}, {"*", "a/b", true}, {"a?c", "a/c", true},
		{"pci:v00008086d00001521sv*sd*bc*sc*i*", "pci:v00008086d00001521sv00008086sd00000001bc02sc00i00", true},
		{"pci:v00008086d00001521sv*sd*bc*sc*i*", "pci:v00008086d00001522sv00008086sd00000001bc02sc00i00", false},
		{"of:N*T*Cti,omap_gpio*", "of:NgpioT(null)Cti,omap_gpio", true},
		{"a-b", "a_b", false}, {"a-b", "a-b", true}, {"a_b", "a_b", true}, {`a\*b`, "a*b", true}, {`a\*b`, "axb", false}, {`a\`, `a\`, true},
		{"[ab]c", "bc", true}, {"[!ab]c", "bc", false}, {"[^ab]c", "xc", true}, {"[a-c]", "b", true}, {"[a-c]", "d", false},
		{"[]]", "]", true}, {"[!]]", "]", false}, {"[", "[", true}, {"[a", "[a", true}, {"[!", "[!", true}, {"[a-]", "-", true},
		{"usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v0781p5567d0100dc00dsc00dp00ic08isc06ip50in00", true},
		{"*a*b*c", "xxaxxbxxc", true}, {"*a*b*c", "xxaxxbxx", false}, {"a**", "a", true},
		{"cpu:type:x86,ven*fam*mod*:feature:*0081*", "cpu:type:x86,ven0000fam0006mod0055:feature:,0000,0081,0090", true},
		{"dmi*:svn*Dell*:pn*", "dmi:bvnX:svnDell Inc.:pnPowerEdge:", true},
	}
	for _, test := range tests {
		if got := Match(test.pattern, test.s); got != test.want {
			t.Errorf("Match(%q, %q) = %v", test.pattern, test.s, got)
		}
	}
}

// FuzzMatch compares with path.Match where the two agree on the meaning: no slash, and classes that end.
func FuzzMatch(f *testing.F) {
	f.Add("a*b?[c_e]", "axxbyd")
	f.Add(`[^a]\*`, "b*")
	f.Add("[]a]", "]")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := Match(pattern, s)
		for _, r := range pattern + s {
			if r == '/' || r == '!' || r >= 0x7f {
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
			t.Errorf("Match(%q, %q) = %v, path.Match says %v", pattern, s, got, want)
		}
	})
}
