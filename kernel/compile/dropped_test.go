package compile

import (
	"slices"
	"testing"

	"hooksmith/kernel/kconfig"
)

func TestDropped(t *testing.T) {
	asked := kconfig.Config{
		"NET": "y", "IGC": "m", "BE2NTE": "y", "QEDE": "m", "SWAP": "n", "NR_CPUS": "64", "CMDLINE": `""`, "BASE": "0x0",
		"OFF": "n", "CC_VERSION_TEXT": `"gcc 12"`, "GCC_VERSION": "120200", "HAVE_X": "y",
	}
	got := kconfig.Config{"NET": "y", "IGC": "m", "SWAP": "y", "NR_CPUS": "32", "GCC_VERSION": "140200", "CC_VERSION_TEXT": `"gcc 14"`}
	want := []string{"CONFIG_BE2NTE=y (it is n)", "CONFIG_NR_CPUS=64 (it is 32)", "CONFIG_QEDE=m (it is n)", "CONFIG_SWAP=n (it is y)"}
	if list := dropped(asked, got); !slices.Equal(list, want) {
		t.Errorf("%q, want %q", list, want)
	}
	if list := dropped(got, got); list != nil {
		t.Errorf("of itself: %q", list)
	}
}
