package servetest

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"hooksmith/cmd/hooksmith/internal/console"
)

// rival is a DHCP server of others: how it checks a file, how it runs with
// one, and the rest of a configuration that a fragment is put into. (It has a
// next-server already, as most have.)
type rival struct {
	target string
	check  []string
	run    []string
	around string // with FRAGMENT for the fragment's path
}

// The servers see the lab's folder as /mnt.
var (
	dnsmasqRival = rival{"dnsmasq",
		[]string{"dnsmasq", "--test", "--conf-file=/mnt/conf"},
		[]string{"dnsmasq", "--keep-in-foreground", "--log-facility=-", "--user=root", "--pid-file=", "--conf-file=/mnt/conf"},
		"port=0\ninterface=br0\nbind-dynamic\nno-ping\nlog-dhcp\ndhcp-range=10.78.0.128,10.78.0.200,255.255.255.0,1h\nconf-file=FRAGMENT\n"}
	keaRival = rival{"kea",
		[]string{"kea-dhcp4", "-t", "/mnt/conf"},
		[]string{"kea-dhcp4", "-c", "/mnt/conf"},
		`{ "Dhcp4": {
  "interfaces-config": { "interfaces": [ "br0" ] },
  "lease-database": { "type": "memfile", "persist": false },
  "next-server": "10.78.0.98",
  "subnet4": [ { "id": 7, "subnet": "10.78.0.0/24", "next-server": "10.78.0.99", "pools": [ { "pool": "10.78.0.128-10.78.0.200" } ] } ],
  <?include "FRAGMENT"?>
} }
`}
	iscRival = rival{"isc-dhcpd",
		[]string{"dhcpd", "-4", "-t", "-cf", "/mnt/conf"},
		[]string{"dhcpd", "-4", "-f", "-d", "-pf", "/run/dhcpd.pid", "-cf", "/mnt/conf", "br0"},
		"ping-check false;\nnext-server 10.78.0.98;\nsubnet 10.78.0.0 netmask 255.255.255.0 { next-server 10.78.0.99; pool { range 10.78.0.128 10.78.0.200; next-server 10.78.0.97; } }\ninclude \"FRAGMENT\";\n"}
	proxyRival = rival{"dnsmasq-proxy", dnsmasqRival.check, dnsmasqRival.run, "port=0\ninterface=br0\nbind-dynamic\nlog-dhcp\nconf-file=FRAGMENT\n"}
)

// dhcpConfig is what the program prints.
func (l *lab) dhcpConfig(args ...string) string {
	l.t.Helper()
	cmd := exec.Command(hooksmith(l.t), append([]string{"dhcp-config", "--offline", "--server", serverIP, "--subnet", subnet, "--interface", "br0"}, args...)...)
	cmd.Env = l.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("dhcp-config %s: %v: %s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// rival runs a server of a suite with the configuration that is generated for
// it, whole or as a fragment, after its own check of it.
func (l *lab) rival(r rival, suite, form string, args ...string) *console.Console {
	l.t.Helper()
	if form == "full" {
		l.write("conf", l.dhcpConfig(append(args, r.target, "--full")...))
	} else {
		l.write("fragment", l.dhcpConfig(append(args, r.target)...))
		l.write("conf", strings.ReplaceAll(r.around, "FRAGMENT", "/mnt/fragment"))
	}
	if out, err := l.chroot(suite, r.check...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s of %s does not take the configuration (%s): %v: %s", r.target, suite, form, err, out)
	}
	return l.background(l.chroot(suite, r.run...))
}

// background runs a server until the test ends.
func (l *lab) background(cmd *exec.Cmd) *console.Console {
	l.t.Helper()
	log := console.New()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := cmd.Wait()
		fmt.Fprintf(log, "\n%s%v\n", rivalEnded, err)
		log.End(errors.New("the server has ended"))
	}()
	l.t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			l.t.Log(err)
		}
		<-done
		if l.t.Failed() {
			l.t.Logf("the other server's last lines:\n%s", log.Tail(40))
		}
	})
	return log
}

// answers waits until a server offers addresses: an ordinary client gets one,
// and nothing to boot.
func (c *client) answers(log *console.Console) {
	c.t.Helper()
	until(c.t, "an offer of the other server", func() bool {
		if ended := log.Find(rivalEnded + `.*$`); ended != "" {
			c.t.Fatal(ended)
		}
		return c.discover(macOf(0xffff), time.Second) != nil
	})
}

// rivalEnded is the last line of a server's log.
const rivalEnded = "servetest: the server has ended: "

// everyRival runs f with each server of each suite, in both forms.
func everyRival(t *testing.T, rivals []rival, f func(t *testing.T, r rival, suite, form string)) {
	for _, suite := range []string{"bookworm", "trixie"} {
		for _, r := range rivals {
			for _, form := range []string{"full", "fragment"} {
				t.Run(suite+"/"+r.target+"/"+form, func(t *testing.T) { f(t, r, suite, form) })
			}
		}
	}
}
