package servetest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// dhcpScript is what a client runs with its lease: it notes what it got. (Most
// clients give it an environment of their own, and DECLINE if it fails.)
const dhcpScript = `#!/bin/sh
PATH=/usr/bin:/bin
env | sort > "%[1]s.new" && mv "%[1]s.new" "%[1]s"
`

// Every DHCP client of a distribution gets the address of its record, and all
// that the record says.
func TestDHCPClients(t *testing.T) {
	l := newLab(t)
	l.serve("--hardware", l.hardware(theClient), "--domain", "example.com")
	script := filepath.Join(l.dir, "script")
	for _, tt := range []struct {
		name string
		argv []string
		want []string
	}{
		{"busybox", []string{"busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "20", "-s", script},
			[]string{"ip=10.78.0.12", "router=10.78.0.254", "dns=10.78.0.53", "lease=3600", "domain=example.com", "hostname=client", "mask=24"}},
		{"dhclient", []string{"dhclient", "-1", "-d", "-v", "-sf", script, "-lf", filepath.Join(l.dir, "dhclient.leases"), "-pf", filepath.Join(l.dir, "dhclient.pid"), "eth0"},
			[]string{"new_ip_address=10.78.0.12", "new_routers=10.78.0.254", "new_domain_name_servers=10.78.0.53", "new_dhcp_lease_time=3600", "new_subnet_mask=255.255.255.0"}},
		{"dhcpcd", []string{"dhcpcd", "-B", "-4", "--noarp", "-c", script, "-f", "/dev/null", "--waitip", "eth0"},
			[]string{"new_ip_address=10.78.0.12", "new_routers=10.78.0.254", "new_domain_name_servers=10.78.0.53", "new_dhcp_lease_time=3600"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			need(t, tt.argv[0])
			out := filepath.Join(l.dir, tt.name)
			l.write("script", fmt.Sprintf(dhcpScript, out))
			if err := os.Chmod(script, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := l.in(l.client, tt.argv...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill() // may have ended
				_ = cmd.Wait()
			}()
			until(t, "the lease of "+tt.name, func() bool {
				got, err := os.ReadFile(out)
				return err == nil && strings.Contains(string(got), "10.78.0.12")
			})
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(got), "\n"+want+"\n") {
					t.Errorf("no %s in\n%s", want, got)
				}
			}
		})
	}
}

// What boots comes by TFTP and HTTP to every client, whole.
func TestFileClients(t *testing.T) {
	l := newLab(t)
	dir := l.artifacts()
	s := l.serve("--hardware", l.hardware(theClient), "--artifacts", dir)
	l.address()

	initramfs, err := os.ReadFile(filepath.Join(dir, "initramfs-x86_64"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		argv []string
	}{
		{"curl", []string{"curl", "-sSf", "-o", "curl", "http://" + serverIP + "/hook/initramfs-x86_64"}},
		{"curl-tftp", []string{"curl", "-sSf", "--tftp-blksize", "1468", "-o", "curl-tftp", "tftp://" + serverIP + "/hook/initramfs-x86_64"}},
		{"atftp", []string{"atftp", "--option", "blksize 1428", "--option", "windowsize 8", "--get", "-r", "initramfs-x86_64", "-l", "atftp", serverIP}},
		{"tftp", []string{"tftp", "-m", "binary", serverIP, "-c", "get", "initramfs-x86_64", "tftp"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			need(t, tt.argv[0])
			l.run(tt.argv...)
			got, err := os.ReadFile(filepath.Join(l.dir, tt.name))
			if err != nil || sha256.Sum256(got) != sha256.Sum256(initramfs) {
				t.Errorf("%d bytes, want %d; %v", len(got), len(initramfs), err)
			}
		})
	}

	// Binaries under the machine's folder, and the script beside them.
	need(t, "curl")
	for url, want := range map[string]string{
		"tftp://" + serverIP + "/undionly.kpxe":                           "",
		"tftp://" + serverIP + "/52-54-00-78-00-0c/ipxe.efi":              "",
		"tftp://" + serverIP + "/52-54-00-78-00-0c/autoexec.ipxe":         "set user-class Tinkerbell",
		"http://" + serverIP + "/ipxe/binary/ipxe.efi":                    "",
		"http://" + serverIP + "/52-54-00-78-00-0c/auto.ipxe":             "worker_id=52:54:00:78:00:0c",
		"http://" + serverIP + "/boot.ipxe":                               "chain --autofree http://" + serverIP + "/ipxe/script/",
		"http://" + serverIP + "//hook//vmlinuz-x86_64":                   "kernel",
		"http://" + serverIP + "/ipxe/script/52:54:00:78:00:0c/auto.ipxe": "syslog_host=" + serverIP,
	} {
		if got := l.get(url); got == "" || !strings.Contains(got, want) {
			t.Errorf("%s: no %q in %.300s", url, want, got)
		}
	}
	// The folder itself is an answer: hookImagesURLPath is fetched like that.
	if got := l.get("http://" + serverIP + "/hook/"); !strings.Contains(got, "vmlinuz-x86_64") {
		t.Errorf("/hook/: %s", got)
	}
	s.wait(`tftp-done.* mac=52:54:00:78:00:0c`)
}

// Logs of a machine are kept under its MAC address, by UDP and TCP.
func TestSyslogClients(t *testing.T) {
	need(t, "logger")
	l := newLab(t)
	l.serve("--hardware", l.hardware(theClient))
	l.address()
	for _, tt := range [][]string{
		{"--udp", "--rfc3164", "-t", "kernel", "by udp in the old form"},
		{"--udp", "--rfc5424", "-t", "tink-worker", "by udp in the new form"},
		{"--tcp", "--octet-count", "--rfc5424", "-t", "dockerd", "by tcp with counts"},
		{"--tcp", "--rfc3164", "-t", "dockerd", "by tcp in lines"},
	} {
		l.run(append([]string{"logger", "-n", serverIP, "-P", "514"}, tt...)...)
		text := tt[len(tt)-1]
		until(t, "a line "+text, func() bool {
			out, err := l.admin("logs", "52-54-00-78-00-0c", "--grep", text)
			return err == nil && strings.Contains(out, text)
		})
	}
	if out, err := l.admin("logs", "525400780 00c"); err == nil || !strings.Contains(out, "see hooksmith serve logs --help") {
		t.Errorf("%v: %s", err, out)
	}
	out, err := l.admin("logs", "52:54:00:78:00:0c", "--json", "--tail", "2")
	if err != nil || strings.Count(out, `"text"`) != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

// The page, the API and the commands are there for the host, not for machines.
func TestAdmin(t *testing.T) {
	need(t, "curl")
	l := newLab(t)
	l.serve("--hardware", l.hardware(theClient))
	l.address()
	l.get("http://" + serverIP + "/boot.ipxe")
	for _, path := range []string{"/", "/api/status", "/metrics"} {
		if out, err := l.in(l.client, "curl", "-sf", "http://"+serverIP+path).CombinedOutput(); err == nil {
			t.Errorf("the boot network sees %s: %.200s", path, out)
		}
		out, err := l.in(l.server, "curl", "-sSf", "http://127.0.0.1:8067"+path).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
	need(t, "busybox")
	l.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "20", "-s", "/bin/true")
	until(t, "the machine in the status", func() bool {
		out, err := l.admin("status")
		return err == nil && strings.Contains(out, "52:54:00:78:00:0c  client  10.78.0.12")
	})
	out, err := l.admin("status", "52:54:00:78:00:0c")
	if err != nil || !regexp.MustCompile(`(?m)^\d+\.\d s +(discover|ack) `).MatchString(out) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := l.admin("status", "--json"); err != nil || !strings.Contains(out, `"mac": "52:54:00:78:00:0c"`) {
		t.Errorf("%v: %s", err, out)
	}
	l.process.stop()
	if out, err := l.admin("status"); err == nil || !strings.Contains(out, "is hooksmith serve running?") {
		t.Errorf("%v: %s", err, out)
	}
}

// A page that others reach has a token, which is made.
func TestToken(t *testing.T) {
	need(t, "curl")
	l := newLab(t)
	s := l.start("--admin-address", serverIP+":8067")
	s.wait(`can be reached from the network and asks for no token`)
	s.wait(`^hint: add --token-file FILE`)
	<-s.done
	token := filepath.Join(l.dir, "token")
	l.serve("--admin-address", serverIP+":8067", "--token-file", token)
	l.address()
	if out, err := l.in(l.client, "curl", "-sf", "http://"+serverIP+":8067/api/status").CombinedOutput(); err == nil {
		t.Errorf("without a token: %.200s", out)
	}
	secret, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	l.run("curl", "-sSf", "-H", "Authorization: Bearer "+strings.TrimSpace(string(secret)), "http://"+serverIP+":8067/api/status")
	if st, err := os.Stat(token); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if out, err := l.admin("status"); err != nil {
		t.Errorf("the command finds the token by itself: %v: %s", err, out)
	}
}

// A port that is taken is said before anything is answered.
func TestPortInUse(t *testing.T) {
	l := newLab(t)
	l.serve()
	first := l.pid()
	second := l.start("--state", filepath.Join(l.dir, "other"))
	second.wait(fmt.Sprintf(`hooksmith \(process %d\) listens on port 67 too`, first))
	second.wait(fmt.Sprintf(`hooksmith: error: .*in use by hooksmith \(process %d\)`, first))
	second.wait(`^hint: `)
}
