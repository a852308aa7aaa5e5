package servetest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/doctor"
)

// examine runs hooksmith doctor in the client namespace.
func (l *lab) examine(args ...string) *doctor.Report {
	l.t.Helper()
	return l.examineAs(nil, args...)
}

// examineAs runs it by a program that takes rights away.
func (l *lab) examineAs(as []string, args ...string) *doctor.Report {
	l.t.Helper()
	return l.examineIn(l.client, append(append(as, hooksmith(l.t), "doctor", "--interface", "eth0", "--json", "--offline", "--wait", "6s"), args...)...)
}

func (l *lab) examineIn(ns string, argv ...string) *doctor.Report {
	l.t.Helper()
	cmd := l.in(ns, argv...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var r doctor.Report
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		l.t.Fatalf("%s: %v, %v: %s%s", strings.Join(argv, " "), err, jsonErr, out, errs.String())
	}
	var exit *exec.ExitError
	if failed := errors.As(err, &exit) && exit.ExitCode() == 1; failed == r.Healthy || err != nil && !failed {
		l.t.Errorf("healthy %v, and the program ended with %v", r.Healthy, err)
	}
	return &r
}

// show is a report for a failed test.
func show(r *doctor.Report) string {
	var b strings.Builder
	if err := r.Picture(&b, doctor.Style{}); err != nil {
		return err.Error()
	}
	return b.String()
}

// wants fails the test unless the report names all of these, each with what to do.
func wants(t *testing.T, r *doctor.Report, codes ...doctor.Code) {
	t.Helper()
	for _, code := range codes {
		if !r.Has(code) {
			t.Errorf("no %s", code)
		}
	}
	for _, f := range r.Findings {
		if f.Text == "" || f.Do == "" {
			t.Errorf("%s does not say what to do", f.Code)
		}
	}
	if t.Failed() {
		t.Log(show(r))
	}
}

// without fails the test if the report names one of these, or any problem if none is given.
func without(t *testing.T, r *doctor.Report, codes ...doctor.Code) {
	t.Helper()
	for _, f := range r.Findings {
		if slices.Contains(codes, f.Code) || len(codes) == 0 && f.Severity == doctor.Problem {
			t.Errorf("%s: %s\n%s", f.Code, f.Text, show(r))
		}
	}
}

// station gives the client namespace an address for what doctor fetches.
func (l *lab) station() *lab {
	l.t.Helper()
	l.ip("-n " + l.client + " addr add 10.78.0.20/24 dev eth0")
	return l
}

// third is another namespace on the bridge, with 10.78.0.2.
func (l *lab) third() string {
	l.t.Helper()
	ns := strings.Replace(l.server, "-s", "-r", 1)
	l.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() }) // may not have been made
	l.ip("netns add " + ns)
	l.ip("-n " + l.server + " link add port1 type veth peer name eth0 netns " + ns)
	l.ip("-n " + l.server + " link set port1 master br0 up")
	l.ip("-n " + ns + " addr add 10.78.0.2/24 dev eth0")
	l.ip("-n " + ns + " link set eth0 up")
	l.ip("-n " + ns + " link set lo up")
	return ns
}

// daemon runs a server until the end of the test, and waits until it listens on a UDP port.
func (l *lab) daemon(ns string, port int, argv ...string) {
	l.t.Helper()
	need(l.t, argv[0])
	cmd := l.in(ns, argv...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill() // may have ended
		<-ended
		if l.t.Failed() {
			l.t.Logf("%s: %s", argv[0], out.String())
		}
	})
	until(l.t, argv[0]+" listens", func() bool {
		select {
		case <-ended:
			l.t.Fatalf("%s has ended", argv[0])
		default:
		}
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", cmd.Process.Pid))
		return err == nil && strings.Contains(string(list), fmt.Sprintf(":%04X ", port))
	})
}

// serveDnsmasq runs it with a configuration, behind what makes it one of the lab's.
func (l *lab) serveDnsmasq(ns, device, conf string) {
	l.t.Helper()
	file := l.write("dnsmasq-"+ns+".conf", "port=0\nlog-dhcp\ndhcp-authoritative\nleasefile-ro\nuser=\ngroup=\nbind-interfaces\ninterface="+device+"\n"+conf)
	l.daemon(ns, 67, "dnsmasq", "-k", "--log-facility=-", "--conf-file="+file, "--pid-file=")
}

// TestDoctor runs hooksmith doctor on networks that are right, and on those that are wrong in every way. Most of the
// time of it is waiting for what does not come: more cases run at once than there are processors.
func TestDoctor(t *testing.T) {
	withDebian := map[string]func(*testing.T){"Kea": doctorKea, "GeneratedDnsmasq": doctorGenerated(dnsmasqRival, "bookworm"),
		"GeneratedKea": doctorGenerated(keaRival, "trixie"), "GeneratedDHCPD": doctorGenerated(iscRival, "bookworm")}
	cases := map[string]func(*testing.T){"Healthy": doctorHealthy, "Proxies": doctorProxies, "Dnsmasq": doctorDnsmasq, "NextServer": doctorNextServer,
		"NoAnswer": doctorNoAnswer, "MTU": doctorMTU, "Rights": doctorRights, "BrokenServer": doctorBrokenServer}
	if os.Getenv("HOOKSMITH_BOOT") != "" { // make test has run the others
		clear(cases)
	}
	maps.Copy(cases, withDebian)
	var running sync.WaitGroup
	most := make(chan struct{}, 8)
	for name, f := range cases {
		running.Go(func() {
			most <- struct{}{}
			t.Run(name, f)
			<-most
		})
	}
	running.Wait()
}

// A network of ours is healthy, in every mode that answers; and looking at it leaves no lease.
func doctorHealthy(t *testing.T) {
	l := newLab(t).station()
	s := l.serve("--dhcp-mode", "pool", "--artifacts", l.artifacts())
	r := l.examine()
	without(t, r)
	for _, c := range r.Clients {
		for _, step := range c.Steps {
			if step.State == doctor.Bad && !strings.Contains(c.Name, "arm64") {
				t.Errorf("%s: %s: %s", c.Name, step.Stage, step.Text)
			}
		}
	}
	if strings.Contains(s.Tail(5000), "dhcp request") {
		t.Error("a lease was asked for")
	}
	// arm64 is not there: a problem only where such machines are said to be.
	wants(t, r, doctor.HTTPStatus)
	r = l.examine("--arch", "x86_64", "--full-exchange")
	without(t, r)
	if len(r.Findings) > 0 && !r.Has(doctor.SlowAnswer) || !strings.Contains(strings.Join(r.Notes, "\n"), "gave it back") {
		t.Error(show(r))
	}
	s.wait(`dhcp release.* mac=02:64:72:78:00:0c`)
	// On the boot server itself.
	without(t, l.examineIn(l.server, hooksmith(t), "doctor", "--interface", "br0", "--arch", "x86_64", "--json"))
}

// Beside a plain DHCP server, our proxy and dnsmasq's are healthy, too. A proxy alone is not.
func doctorProxies(t *testing.T) {
	l := newLab(t).station()
	s := l.serve("--dhcp-mode", "auto-proxy", "--artifacts", l.artifacts())
	wants(t, l.examine("--arch", "x86_64", "--quick"), doctor.NoAddressServer)
	rival := l.third()
	l.serveDnsmasq(rival, "eth0", "no-ping\ndhcp-range=10.78.0.100,10.78.0.150\n")
	expect := l.write("serve.yaml", "dhcp-mode: auto-proxy\naddress: "+serverIP+"\n")
	r := l.examine("--arch", "x86_64", "--quick", "--expect", expect)
	without(t, r)
	wants(t, l.examine("--arch", "x86_64", "--quick", "--expect", l.write("other.yaml", "dhcp-mode: auto-proxy\naddress: 10.78.0.9\n")), doctor.ExpectedServer, doctor.NextServerWrong, doctor.ExpectedFile)
	s.stop()

	// dnsmasq's proxy sends UEFI machines to port 4011.
	l.write("tftp/undionly.kpxe", strings.Repeat("BIOS", 300))
	l.serveDnsmasq(l.server, "br0", "dhcp-range=10.78.0.0,proxy,255.255.255.0\nenable-tftp\ntftp-root="+filepath.Join(l.dir, "tftp")+
		"\npxe-service=x86PC,\"HookOS\",undionly.kpxe\npxe-service=X86-64_EFI,\"HookOS\",ipxe.efi\n")
	r = l.examine("--arch", "x86_64", "--quick")
	without(t, r, doctor.PXE4011Blocked, doctor.NoAddressServer)
	wants(t, r, doctor.TFTPFile, doctor.Loop)
	need(t, "iptables")
	if out, err := l.in(l.server, "iptables", "-I", "INPUT", "-p", "udp", "--dport", "4011", "-j", "DROP").CombinedOutput(); err != nil {
		t.Fatalf("iptables: %v: %s", err, out)
	}
	wants(t, l.examine("--arch", "x86_64", "--quick"), doctor.PXE4011Blocked)
}

// The snippet that stands in the documentation of this field: loads in dnsmasq, and boots hardly anything.
func doctorDnsmasq(t *testing.T) {
	l := newLab(t).station()
	copyBinary(t, l, "ipxe.efi")
	base := "no-ping\ndhcp-range=10.78.0.100,10.78.0.150\nenable-tftp\ntftp-root=" + filepath.Join(l.dir, "tftp") + "\n"
	l.serveDnsmasq(l.server, "br0", base+"dhcp-boot=ipxe.efi,none,"+serverIP+"\n")
	r := l.examine()
	wants(t, r, doctor.Option66None, doctor.WrongArchitecture, doctor.BootForEveryone, doctor.Option60Missing, doctor.NotAURL, doctor.Loop)
	for _, f := range r.Findings {
		if f.Code == doctor.Option66None && (len(f.Lines) == 0 || !strings.Contains(f.Lines[0].Text, "dhcp-boot=tag:..., ipxe.efi,,"+serverIP)) {
			t.Errorf("the line to change: %+v", f.Lines)
		}
		if f.Code == doctor.WrongArchitecture && slices.Contains(f.Clients, "x64 UEFI PXE") {
			t.Errorf("%+v", f)
		}
	}
	// Two of them: both give addresses, and different files.
	rival := l.third()
	l.serveDnsmasq(rival, "eth0", "no-ping\ndhcp-range=10.78.0.160,10.78.0.190\ndhcp-boot=pxelinux.0,,10.78.0.2\n")
	wants(t, l.examine("--quick"), doctor.RivalDHCP, doctor.RivalBoot)
}

// next-server is a host without TFTP; file names are too long; the ping check takes its time.
func doctorNextServer(t *testing.T) {
	l := newLab(t).station()
	copyBinary(t, l, "ipxe.efi")
	conf := "dhcp-range=10.78.0.100,10.78.0.150\nenable-tftp\ntftp-root=" + filepath.Join(l.dir, "tftp") + "\ndhcp-match=set:efi,option:client-arch,7\ndhcp-boot=tag:efi,ipxe.efi,,10.78.0.99\n" +
		"dhcp-match=set:bios,option:client-arch,0\ndhcp-boot=tag:bios," + strings.Repeat("long/", 30) + "undionly.kpxe,," + serverIP + "\n"
	l.serveDnsmasq(l.server, "br0", conf)
	r := l.examine("--arch", "x86_64", "--quick")
	wants(t, r, doctor.NextServerWrong, doctor.TFTPUnreachable, doctor.FileNameTooLong, doctor.NoBootFile, doctor.SlowAnswer)
	for _, f := range r.Findings {
		if f.Code == doctor.NextServerWrong && !strings.Contains(f.Do+f.Text, serverIP) {
			t.Errorf("%+v", f)
		}
	}
}

// Kea as its documentation has it: the user class in one form only, and no next-server.
func doctorKea(t *testing.T) {
	l := newLab(t).station()
	l.write("kea.json", `{"Dhcp4": {"interfaces-config": {"interfaces": ["br0"]}, "lease-database": {"type": "memfile", "persist": false},
		"client-classes": [
			{"name": "hook", "test": "option[77].hex == 'Tinkerbell'", "boot-file-name": "http://10.78.0.1/auto.ipxe"},
			{"name": "bios", "test": "not member('hook') and option[93].hex == 0x0000", "boot-file-name": "undionly.kpxe"},
			{"name": "efi", "test": "not member('hook') and option[93].hex == 0x0007", "boot-file-name": "ipxe.efi"}],
		"subnet4": [{"id": 1, "subnet": "10.78.0.0/24", "pools": [{"pool": "10.78.0.100-10.78.0.150"}]}]}}`)
	log := l.background(l.chroot("bookworm", "kea-dhcp4", "-c", "/mnt/kea.json"))
	l.dhcpClient().answers(log)
	r := l.examine("--arch", "x86_64", "--quick")
	wants(t, r, doctor.NextServerMissing, doctor.Loop, doctor.HTTPUnreachable)
	for _, f := range r.Findings {
		if f.Code == doctor.Loop && !slices.Equal(f.Clients, []string{"Tinkerbell iPXE, x64, RFC 3004"}) {
			t.Errorf("%+v", f)
		}
	}
}

// Beside a server of others with the configuration that dhcp-config writes, all is well.
func doctorGenerated(other rival, suite string) func(*testing.T) {
	return func(t *testing.T) {
		l := newLab(t).station()
		l.serve("--dhcp-mode", "off", "--unknown", "auto", "--artifacts", l.artifacts())
		l.dhcpClient().answers(l.rival(other, suite, "full"))
		r := l.examine("--arch", "x86_64", "--expect", l.write("serve.yaml", "dhcp-mode: off\nunknown: auto\naddress: "+serverIP+"\n"))
		without(t, r)
		without(t, r, doctor.BootForEveryone)
	}
}

// Nobody answers; or only for others.
func doctorNoAnswer(t *testing.T) {
	l := newLab(t)
	wants(t, l.examine("--wait", "2s"), doctor.NoAnswer)
	l.serve("--hardware", l.hardware(theClient), "--artifacts", l.artifacts())
	wants(t, l.examine("--arch", "x86_64", "--mac", "52:54:00:78:00:0c"), doctor.NoAddressHere)
	l.station()
	without(t, l.examine("--arch", "x86_64", "--mac", "52:54:00:78:00:0c"))
	wants(t, l.examine("--arch", "x86_64", "--mac", "52:54:00:78:00:0c", "--quick", "--expect", l.write("serve.yaml", "dhcp-mode: off\nunknown: auto\naddress: "+serverIP+"\nipxe-binary: [7=snponly.efi]\n")), doctor.ExpectedFile)
}

// The MTU is smaller somewhere on the way; or the server sends fragments.
func doctorMTU(t *testing.T) {
	l := newLab(t).station()
	copyBinary(t, l, "ipxe.efi")
	l.serveDnsmasq(l.server, "br0", "no-ping\ndhcp-range=10.78.0.100,10.78.0.150\nenable-tftp\ntftp-root="+filepath.Join(l.dir, "tftp")+"\ndhcp-match=set:efi,option:client-arch,7\ndhcp-boot=tag:efi,ipxe.efi\n")
	l.ip("-n " + l.client + " link set eth0 mtu 1400")
	wants(t, l.examine("--arch", "x86_64", "--quick"), doctor.TFTPMTU)
	l.ip("-n " + l.client + " link set eth0 mtu 1500")
	without(t, l.examine("--arch", "x86_64", "--quick"), doctor.TFTPMTU, doctor.TFTPFragments)
	l.ip("-n " + l.server + " link set br0 mtu 1300")
	wants(t, l.examine("--arch", "x86_64", "--quick"), doctor.TFTPFragments)
}

// Without rights it does what can be done, and says which is missing.
func doctorRights(t *testing.T) {
	need(t, "setpriv")
	l := newLab(t).station()
	l.serve("--dhcp-mode", "pool", "--artifacts", l.artifacts())
	as := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"}
	dir := l.shared()
	config := l.write("serve.yaml", "dhcp-mode: pool\naddress: "+serverIP+"\nipxe-dir: "+dir+"\n")
	for up := l.dir; strings.Contains(up, "Test"); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := l.examineAs(as)
	wants(t, r, doctor.RightMissing)
	if r.Listened != "" || !strings.Contains(show(r), "setcap cap_net_raw") {
		t.Error(show(r))
	}
	r = l.examineAs(as, "--expect", config, "--arch", "x86_64")
	wants(t, r, doctor.RightMissing)
	fetched := 0
	for _, c := range r.Clients {
		for _, s := range c.Steps {
			if s.Stage == doctor.Initramfs && s.State == doctor.OK {
				fetched++
			}
		}
	}
	if fetched < 5 || len(r.Findings) != 1 {
		t.Errorf("%d machines got as far as the initramfs\n%s", fetched, show(r))
	}
	// One right is enough for answers by broadcast.
	as = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+net_bind_service", "--ambient-caps=-all,+net_bind_service", "--bounding-set=-all,+net_bind_service"}
	r = l.examineAs(as, "--arch", "x86_64", "--quick")
	without(t, r)
	if r.Listened != "port 68" {
		t.Error(show(r))
	}
}

// shared is a folder of boot binaries that every user may read.
func (l *lab) shared() string {
	l.t.Helper()
	for _, name := range []string{"ipxe.efi", "undionly.kpxe"} {
		copyBinary(l.t, l, name)
	}
	return filepath.Join(l.dir, "tftp")
}

// binaries are what copyBinary has got, by name.
var binaries sync.Map

// copyBinary gets one of Debian's binaries from a server of ours into the lab's TFTP folder, by a name.
func copyBinary(t *testing.T, l *lab, name string) {
	t.Helper()
	content, ok := binaries.Load(name)
	if !ok {
		o := newLab(t)
		o.serve("--dhcp-mode", "off")
		o.address()
		from := map[string]string{"ipxe.efi": "ipxe-amd64.efi"}[name]
		content = o.get("http://" + serverIP + "/" + cmp.Or(from, name))
		binaries.Store(name, content)
	}
	l.write("tftp/"+name, content.(string))
}

// A server that is broken in every way is survived and named.
func doctorBrokenServer(t *testing.T) {
	l := newLab(t).station()
	var conn *net.UDPConn
	inside(t, l.server, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 67})
		return err
	})
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if q, err := dhcpv4.FromBytes(buf[:n]); err == nil {
				for _, answer := range brokenAnswers(q) {
					_, _ = conn.WriteToUDPAddrPort(answer, netip.MustParseAddrPort("10.78.0.255:68")) // one lost is asked for again
				}
			}
		}
	}()
	start := time.Now()
	r := l.examine("--arch", "x86_64", "--quick", "--full-exchange")
	wants(t, r, doctor.BadPacket, doctor.Option66Differs, doctor.LeaseRefused)
	t.Logf("in %s", time.Since(start))
}

// brokenAnswers are answers of servers that do not work, and one that does and then refuses the lease.
func brokenAnswers(q *dhcpv4.DHCPv4) (all [][]byte) {
	kind := dhcpv4.MessageTypeOffer
	if q.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeNak
	}
	answer := func(change func(*dhcpv4.DHCPv4)) []byte {
		m, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.IPv4(10, 78, 0, 77)),
			dhcpv4.WithServerIP(net.IPv4(10, 78, 0, 1)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 78, 0, 1))))
		if err != nil {
			return nil
		}
		change(m)
		return m.ToBytes()
	}
	fine := answer(func(m *dhcpv4.DHCPv4) {
		m.BootFileName = "undionly.kpxe"
		m.Options[66] = []byte("10.78.0.3")
		m.Options[43] = []byte{6, 255, 1}                  // longer than there is
		m.Options[224] = []byte(strings.Repeat("x", 1000)) // split by RFC 3396
	})
	cut := slices.Clone(fine)[:236+4+5]
	nobody := answer(func(m *dhcpv4.DHCPv4) { delete(m.Options, 54); m.BootFileName = "\x1b[2J\x07undionly.kpxe" })
	return [][]byte{cut, nobody, fine, []byte("\x02"), nil}
}
