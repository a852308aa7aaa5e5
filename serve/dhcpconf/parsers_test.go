package dhcpconf

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"hooksmith/serve/ipxe"
)

// GRUB's entry and the container's script are taken by the parsers of those
// languages, values that need quoting included.
func TestParsers(t *testing.T) {
	c := config(t, ruleOver(t, ipxe.RuleOptions{UserClasses: []string{"it's \"$(x)\" `y`"}}, "undionly.kpxe", "ip'x$e.efi", "x'y.lkrn"))
	for _, tt := range []struct {
		target string
		argv   []string
	}{
		{"grub", []string{"grub-script-check"}},
		{"dnsmasq-container", []string{"sh", "-n"}},
		{"dnsmasq-container", []string{"shellcheck", "--shell=sh", "-"}},
	} {
		if _, err := exec.LookPath(tt.argv[0]); err != nil {
			if os.Getenv("HOOKSMITH_TEST_MIRROR") != "" {
				t.Errorf("%s is not installed", tt.argv[0])
			}
			t.Logf("%s is not installed", tt.argv[0])
			continue
		}
		r, err := Generate(tt.target, c)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(tt.argv[0], tt.argv[1:]...)
		cmd.Stdin = strings.NewReader(r.Text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s does not take the text for %s: %v: %s\n%s", tt.argv[0], tt.target, err, out, r.Text)
		}
	}
}
