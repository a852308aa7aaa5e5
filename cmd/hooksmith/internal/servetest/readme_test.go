package servetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readmeCSV is a hardware.csv as EKS Anywhere has it.
const readmeCSV = "hostname,mac,ip_address,netmask,gateway,nameservers,labels,disk\n" +
	"node1,52:54:00:12:34:56,10.0.0.11,255.255.255.0,10.0.0.254,10.0.0.53,type=cp,/dev/sda\n"

// The commands that the README has about other DHCP servers, one by one:
// ours as they are, the servers' own checks inside of both Debian releases.
func TestReadmeDHCPConfig(t *testing.T) {
	text, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Beside another DHCP server")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, suite := range []string{"bookworm", "trixie"} {
		l := newLab(t)
		l.write("hardware.csv", readmeCSV)
		count := 0
		for i, part := range strings.Split(section, "```") {
			if block, ok := strings.CutPrefix(part, "sh\n"); ok && i%2 == 1 {
				for line := range strings.Lines(block) {
					count++
					l.readme(suite, strings.TrimSpace(line))
				}
			}
		}
		if count < 14 {
			t.Errorf("only %d commands in the README", count)
		}
	}
}

// readme runs a command of the README; what it names in /etc is in the lab's
// folder, which the servers see as /mnt.
func (l *lab) readme(suite, line string) {
	l.t.Helper()
	command, file, _ := strings.Cut(line, " > ")
	args := strings.Fields(strings.ReplaceAll(command, " /etc/", " /mnt/etc/"))
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "=/etc/", "=/mnt/etc/")
	}
	cmd := l.chroot(suite, args...)
	switch args[0] {
	case "hooksmith":
		cmd = l.in(l.server, append([]string{hooksmith(l.t), args[1], "--offline"}, args[2:]...)...)
	case "sh":
		cmd = l.in(l.server, "sh", args[1], filepath.Join(l.dir, strings.TrimPrefix(args[2], "/mnt")))
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("%s (%s): %v: %s", line, suite, err, &stderr)
	}
	if file != "" {
		l.write(strings.TrimPrefix(file, "/"), string(out))
	}
}
