package modules

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const aliasText = `# Aliases extracted from modules themselves.
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias virtio:d00000004v* virtio-rng
alias virtio:d00000001v* virtio_net
alias fs-ext4 ext4
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias *everything* odd
alias of:N* T*Cwith,space spaced
alias dmi*A-B* dashed
alias dmi*A[+-]B* bracketed
alias dmi*[A-B* unpaired
alias
alias short
blacklist virtio_net
`

func TestMatchAliases(t *testing.T) {
	queries := []string{"virtio:d00000001v00001AF4", "pci:v00001AF4d00001000sv0sd0bc02sc00i00", "fs_ext4", "crc32c", "nothing", "of:Nx Ty_Cwith,space", "has everything", "dmi:bvn[A-B]:", "dmi:bvnA-B:", "dmi:bvn[A-B:"}
	want := [][]string{{"virtio_net"}, {"virtio_pci"}, {"ext4"}, {"crc32c_generic", "crc32c_intel"}, nil, {"spaced"}, {"odd"}, {"bracketed"}, {"dashed"}, nil}
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
