package modalias

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestNormal(t *testing.T) {
	for _, test := range []struct {
		alias, want string
		ok          bool
	}{
		{"", "", true}, {"a_b", "a_b", true}, {"a-b-", "a_b_", true}, {"[a-b]-c", "[a-b]_c", true}, {"-[]-[-]", "_[]_[-]", true},
		{"[[-]-", "[[-]_", true}, {"[a-b", "", false}, {"a]", "", false}, {"[]]", "", false}, {"[a][b", "", false},
	} {
		if got, ok := Normal(test.alias); got != test.want || ok != test.ok {
			t.Errorf("Normal(%q) = %q, %v", test.alias, got, ok)
		}
	}
}

func TestModuleOf(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/net/8021q/x-y.ko.xz": "x_y", "virtio-rng.ko": "virtio_rng", "/lib/modules/6.1/updates/a.ko": "a", "a-b": "a_b",
	} {
		if got := ModuleOf(file); got != want {
			t.Errorf("ModuleOf(%q) = %q, want %q", file, got, want)
		}
	}
}

// patterns and names hold dashes and brackets in all places where they mean something else.
var (
	patterns = []string{
		"dmi*A-B*", "dmi*A_B*", "dmi*A[+-]B*", "dmi*[A-B]*", "dmi*[[]A*", "dmi:bvn[!-]*", "dmi:bvn[^A-C]*", "dmi*]*", "dmi*[A-B*",
		"of:N*T*Cti,omap-gpio*", "x-y[a-c]z-*", "x?y?z*", "usb:v*p*-[0-9]", "*-*", "*[-]*", "mdio-*:x", "mdio_*:x",
	}
	names = []string{
		"dmi:bvn[A-B]:", "dmi:bvn[A_B]:", "dmi:bvnA-B:", "dmi:bvnA_B:", "dmi:bvnA+B:", "dmi:bvnD-B:", "dmi:bvn-:", "dmi:bvn[-]:",
		"dmi:bvn[]:", "dmi:bvnA]:", "dmi:bvn[A-B:", "dmi:bvn[[A-B]:", "dmi:bvn[A][B-C]-D:", "of:NxT(null)Cti,omap-gpio",
		"of:NxT(null)Cti,omap_gpio", "x-ybz-1", "x_ybz_1", "x-y-z-", "usb:v1p2-3", "usb:v1p2_3", "mdio-a:x", "mdio_a:x", "plain",
	}
)

// TestModprobe compares Normal and Match with the modprobe of this machine, which reads the patterns from its configuration.
func TestModprobe(t *testing.T) {
	modprobe, err := exec.LookPath("modprobe")
	if err != nil {
		if modprobe, err = exec.LookPath("/usr/sbin/modprobe"); err != nil {
			t.Skip("there is no modprobe (package kmod) to compare with")
		}
	}
	dir := t.TempDir()
	var conf bytes.Buffer
	for i, p := range patterns {
		conf.WriteString("alias " + p + " module" + strconv.Itoa(i) + "\n")
	}
	file := filepath.Join(dir, "aliases.conf")
	if err := errors.Join(os.WriteFile(file, conf.Bytes(), 0o600), os.MkdirAll(filepath.Join(dir, "lib/modules/1.0"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		cmd := exec.CommandContext(t.Context(), modprobe, "-R", "-C", file, "-d", dir, "-S", "1.0", name)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		got, want := matches(name), strings.Fields(string(out))
		slices.Sort(want)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: %q, modprobe says %q (of %q)", name, got, want, patterns)
		}
	}
}

// matches names the modules that a device of that name would load.
func matches(name string) []string {
	var found []string
	s, ok := Normal(name)
	for i, p := range patterns {
		if pattern, balanced := Normal(p); ok && balanced && Match(pattern, s) {
			found = append(found, "module"+strconv.Itoa(i))
		}
	}
	return found
}
