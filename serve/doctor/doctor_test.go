package doctor

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
)

const base = "http://10.0.0.1/x/auto.ipxe"

// What a script boots.
func TestRunScript(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		want       outcome
	}{
		{"plain", "#!ipxe\nkernel vmlinuz a=1 b=2\ninitrd initramfs\nboot\n", outcome{kernel: "http://10.0.0.1/x/vmlinuz", initrds: []string{"http://10.0.0.1/x/initramfs"}, args: "a=1 b=2"}},
		{"settings", "#!ipxe\nset u http://h/${buildarch}\nkernel --name k ${u}/k m=${net0/mac:hexhyp}\nmodule ${u}/i\n", outcome{kernel: "http://h/x86_64/k", initrds: []string{"http://h/x86_64/i"}, args: "m=02-00-00-00-00-01"}},
		{"nested", "#!ipxe\nset a b\nset b c\nkernel /${${a}} x\ninitrd /i", outcome{kernel: "http://10.0.0.1/c", initrds: []string{"http://10.0.0.1/i"}, args: "x"}},
		{"branches", "#!ipxe\niseq ${buildarch} arm64 && goto arm || goto x86\n:arm\nkernel /arm\n:x86\nkernel /x86\ninitrd /i\nboot || goto arm\n", outcome{kernel: "http://10.0.0.1/x86", initrds: []string{"http://10.0.0.1/i"}}},
		{"continued", "#!ipxe\nkernel \\\n /k \\\n a\ninitrd /i\r\n", outcome{kernel: "http://10.0.0.1/k", initrds: []string{"http://10.0.0.1/i"}, args: "a"}},
		{"chain", "#!ipxe\nchain --autofree http://h/${mac}.ipxe || shell\n", outcome{chain: "http://h/02:00:00:00:00:01.ipxe"}},
		{"menu", "#!ipxe\nmenu M\nitem hook HookOS\nitem disk\nchoose --default disk --timeout 3000 c\ngoto ${c}\n:hook\nkernel /k\n:disk\nsanboot --drive 0x80", outcome{other: "sanboot --drive 0x80"}},
		{"asks", "#!ipxe\nread name\nkernel /k\n", outcome{asks: true}},
		{"circle", "#!ipxe\n:a\ngoto a\n", outcome{err: "it goes round and round"}},
		{"no label", "#!ipxe\ngoto nowhere\n", outcome{err: "there is no label nowhere"}},
		{"gives up", "#!ipxe\nexit 1\n", outcome{err: "it gives up (exit 1)"}},
		{"gives up, and says why", "#!ipxe\necho\necho -n not ${mac}\necho ask the \x1boffice\nprompt || exit 1\n",
			outcome{err: "it gives up (exit 1)", says: "not 02:00:00:00:00:01; ask the ?office"}},
		{"fails", "#!ipxe\niseq a b\nkernel /k", outcome{err: "line 2 fails: iseq a b"}},
		{"counts", "#!ipxe\nset n:int32 0\n:again\ninc n\niseq ${n} 3 || goto again\nkernel /k${n}\ninitrd /i\n", outcome{kernel: "http://10.0.0.1/k3", initrds: []string{"http://10.0.0.1/i"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, _ := url.Parse(base)
			got := runScript(tt.text, u, map[string]string{"mac": "02:00:00:00:00:01", "buildarch": "x86_64"})
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// Our own scripts boot.
func TestOwnScript(t *testing.T) {
	t.Parallel()
	scripts, err := ipxe.NewScripts(ipxe.Config{HookURL: "http://10.0.0.1/hook/", SyslogHost: "10.0.0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := scripts.For(&hardware.Machine{MAC: "02:00:00:00:00:01"})
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(base)
	got := runScript(result.Script, u, map[string]string{"mac": "02:00:00:00:00:01", "buildarch": "arm64"})
	if got.kernel != "http://10.0.0.1/hook/vmlinuz-aarch64" || !slices.Equal(got.initrds, []string{"http://10.0.0.1/hook/initramfs-aarch64"}) || got.err != "" {
		t.Errorf("%+v\n%s", got, result.Script)
	}
}

// scripted is a doctor whose only player is told a script's URL.
func scripted(t *testing.T, handler http.Handler) (*doctor, *question) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	d := &doctor{report: &Report{}, fetch: newFetcher(), own: netip.MustParseAddr("127.0.0.1"), Options: Options{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}}
	p := playersOf([]string{"x86_64"})
	i := slices.IndexFunc(p, func(p player) bool { return p.name == tinkX64 })
	q := &question{player: &p[i], answers: []*Answer{{ServerID: "10.0.0.1", File: server.URL + "/auto.ipxe", Port: 67}}}
	d.questions = []*question{q}
	return d, q
}

const kernelSum = "e3ffcd35bb97afb9c9bb45c6eb0ac27d83ef8eaf39e5bdbf79f08b8a8c2ba4b3" // of nothing that is served

// Scripts that do not boot, and files that are not of the build, are named.
func TestScriptFaults(t *testing.T) {
	t.Parallel()
	boots := "#!ipxe\nkernel vmlinuz\ninitrd initramfs\nboot\n"
	manifest := func(name, sum string, size int) string {
		return fmt.Sprintf(`{"schema": 1, "builds": [{"artifacts": [{"name": "x", "aliases": [%q], "size": %d, "sha256": %q}]}]}`, name, size, sum)
	}
	for _, tt := range []struct {
		name, script, manifest string
		want                   []Code
	}{
		{"fine", boots, "", nil},
		{"HTML", "<html>\n" + boots, "", []Code{ScriptInvalid}},
		{"a shell script", "#!/bin/sh\n", "", []Code{ScriptInvalid}},
		{"a circle of scripts", "#!ipxe\nchain auto.ipxe\n", "", []Code{ScriptInvalid}},
		{"chain to nowhere", "#!ipxe\nchain nowhere\n", "", []Code{HTTPStatus}},
		{"chain", "#!ipxe\nchain boot/other.ipxe\n", "", nil},
		{"no kernel", "#!ipxe\necho hello\n", "", []Code{ScriptNothing}},
		{"no initramfs", "#!ipxe\nkernel vmlinuz\nboot\n", "", []Code{ScriptNothing}},
		{"kernel missing", "#!ipxe\nkernel nowhere\ninitrd initramfs\n", "", []Code{HTTPStatus}},
		{"another hash", boots, manifest("vmlinuz", kernelSum, len(program)), []Code{HashDiffers}},
		{"another size", boots, manifest("initramfs", kernelSum, 7), []Code{HashDiffers}},
		{"of another name", boots, manifest("vmlinuz-aarch64", kernelSum, 7), nil},
		{"no manifest", boots, "hello", []Code{ManifestInvalid}},
		{"a later manifest", boots, `{"schema": 2}`, []Code{ManifestInvalid}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, q := scripted(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch name := r.URL.Path; {
				case name == "/auto.ipxe":
					_, _ = w.Write([]byte(tt.script))
				case name == "/boot/other.ipxe":
					_, _ = w.Write([]byte("#!ipxe\nkernel ../vmlinuz\ninitrd /initramfs\n"))
				case name == "/hook.json" && tt.manifest != "":
					_, _ = w.Write([]byte(tt.manifest))
				case name == "/vmlinuz" || name == "/initramfs":
					serveFile(w, r)
				default:
					http.NotFound(w, r)
				}
			}))
			steps := d.follow(t.Context(), q)
			if got := codesOf(d.report.Findings); !slices.Equal(got, tt.want) {
				t.Errorf("%+v, want %v", d.report.Findings, tt.want)
			}
			if tt.want == nil && (len(steps) != 4 || slices.ContainsFunc(steps, func(s Step) bool { return s.State != OK })) {
				t.Errorf("%+v", steps)
			}
		})
	}
}

// The hook.json that the configuration names counts like the one that is served.
func TestExpectedManifest(t *testing.T) {
	t.Parallel()
	d, q := scripted(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/auto.ipxe" {
			_, _ = w.Write([]byte("#!ipxe\nkernel vmlinuz\ninitrd initramfs\n"))
			return
		}
		if r.URL.Path == "/hook.json" {
			http.NotFound(w, r)
			return
		}
		serveFile(w, r)
	}))
	d.Expect = &Expect{Name: "serve.yaml", Manifest: []byte(`{"schema":1,"builds":[{"artifacts":[{"name":"vmlinuz","size":1}]}]}`)}
	d.follow(t.Context(), q)
	if got := codesOf(d.report.Findings); !slices.Equal(got, []Code{HashDiffers}) {
		t.Errorf("%+v", d.report.Findings)
	}
}

// The certificate of the boot server is looked at though no script names it.
func TestExpectedHTTPS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(serveFile))
	t.Cleanup(server.Close)
	d, _ := scripted(t, http.NotFoundHandler())
	d.Expect = &Expect{HTTPS: server.URL}
	d.secure(t.Context())
	if got := codesOf(d.report.Findings); !slices.Equal(got, []Code{CertificateChain}) {
		t.Errorf("%+v", d.report.Findings)
	}
}

// reply is an answer of a server to a DISCOVER.
func reply(t testing.TB, change func(*dhcpv4.DHCPv4)) []byte {
	t.Helper()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	q, err := (&player{class: pxeClient, arch: 7}).discover(mac)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 7)), dhcpv4.WithServerIP(net.IPv4(10, 0, 0, 1)))
	if err != nil {
		t.Fatal(err)
	}
	change(m)
	return m.ToBytes()
}

// Fields and options, whichever a server uses, are read as firmware reads them.
func TestParseAnswer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 140)
	for _, tt := range []struct {
		name   string
		change func(*dhcpv4.DHCPv4)
		check  func(*Answer) bool
	}{
		{"fields", func(m *dhcpv4.DHCPv4) { m.BootFileName, m.ServerHostName = "a.efi", "boot" }, func(a *Answer) bool {
			return a.File == "a.efi" && a.ServerName == "boot" && a.NextServer == "10.0.0.1" && a.Address == "10.0.0.7" && a.tooLong == 0
		}},
		{"options go first", func(m *dhcpv4.DHCPv4) {
			m.BootFileName = "a.efi"
			m.Options[67], m.Options[66] = []byte("b.efi\x00"), []byte("none")
		}, func(a *Answer) bool { return a.File == "b.efi" && a.ServerName == "none" }},
		{"long option", func(m *dhcpv4.DHCPv4) { m.Options[67] = []byte(long) }, func(a *Answer) bool { return a.tooLong == 140 }},
		{"overload", func(m *dhcpv4.DHCPv4) {
			m.Options[52] = []byte{1}
			m.BootFileName = "\x43\x05c.efi\xff"
		}, func(a *Answer) bool { return a.File == "c.efi" && a.tooLong == 0 }},
		{"vendor", func(m *dhcpv4.DHCPv4) { m.Options[43] = []byte{6, 1, 8, 9, 5, 0, 1, 2, 'h', 'i', 255} }, func(a *Answer) bool {
			return a.vendor && a.useFile && slices.Equal(a.menuItem, []byte{0, 1, 0, 0})
		}},
		{"boot servers", func(m *dhcpv4.DHCPv4) { m.Options[43] = []byte{8, 7, 0, 1, 1, 10, 0, 0, 9, 255} }, func(a *Answer) bool {
			return len(a.servers) == 1 && a.servers[0].String() == "10.0.0.9"
		}},
		{"terminal", func(m *dhcpv4.DHCPv4) { m.Options[60] = []byte("PXE\x1b[2JClient") }, func(a *Answer) bool { return a.VendorClass == "PXE?[2JClient" }},
		{"no pxedhcp", func(m *dhcpv4.DHCPv4) { m.Options[175] = []byte{176, 1, 1} }, func(a *Answer) bool { return a.noPXEDHCP }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _, err := parseAnswer(reply(t, tt.change))
			if err != nil || !tt.check(a) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	full := reply(t, func(*dhcpv4.DHCPv4) {})
	copy(full[108:236], long)
	if a, _, err := parseAnswer(full); err != nil || a.tooLong != 128 {
		t.Errorf("a full field: %+v, %v", a, err)
	}
	if _, _, err := parseAnswer(make([]byte, maxMessage+1)); err == nil {
		t.Error("a message without bounds was read")
	}
}

// What judge says of one answer.
func TestJudgeAnswer(t *testing.T) {
	t.Parallel()
	find := func(name string) *player {
		all := players()
		return &all[slices.IndexFunc(all, func(p player) bool { return p.name == name })]
	}
	good := Answer{ServerID: "10.0.0.1", From: "10.0.0.1", Port: 67, NextServer: "10.0.0.1"}
	for _, tt := range []struct {
		player string
		change func(*Answer)
		want   []Code
	}{
		{usual, func(a *Answer) { a.File = "ipxe.efi" }, nil},
		{usual, func(a *Answer) { a.File = "ipxe.efi"; a.NextServer = "" }, []Code{NextServerMissing}},
		{usual, func(a *Answer) { a.File, a.option66, a.ServerName = "ipxe.efi", "None", "None" }, []Code{Option66None}},
		{usual, func(a *Answer) { a.File, a.ServerName = "ipxe.efi", "none" }, []Code{Option66None}},
		{usual, func(a *Answer) { a.File, a.option66 = "ipxe.efi", "10.0.0.2" }, []Code{Option66Differs}},
		{usual, func(a *Answer) { a.File, a.tooLong = "ipxe.efi", 130 }, []Code{FileNameTooLong}},
		{usual, func(a *Answer) { a.ServerID = "" }, []Code{BadPacket}},
		{"x64 UEFI HTTP", func(a *Answer) { a.File, a.VendorClass = "http://10.0.0.1/ipxe.efi", "HTTPClient" }, nil},
		{"x64 UEFI HTTP", func(a *Answer) { a.File, a.VendorClass = "ipxe.efi", "HTTPClient" }, []Code{NotAURL}},
		{"x64 UEFI HTTP", func(a *Answer) { a.File, a.VendorClass = "http://10.0.0.1/ipxe.efi", "PXEClient" }, []Code{Option60Missing}},
		{tinkX64, func(a *Answer) { a.File = "http://10.0.0.1/auto.ipxe" }, nil},
		{tinkX64, func(a *Answer) { a.File = "ipxe.efi" }, []Code{Loop}},
		{tinkX64 + ", RFC 3004", func(a *Answer) { a.File = "tftp://10.0.0.1/undionly.kpxe" }, []Code{Loop}},
		{ordinary, func(*Answer) {}, nil},
		{ordinary, func(a *Answer) { a.File = "ipxe.efi" }, []Code{BootForEveryone}},
		{ordinary, func(a *Answer) { a.VendorClass = "PXEClient" }, []Code{BootForEveryone}},
	} {
		d, a := &doctor{report: &Report{}}, good
		tt.change(&a)
		d.judgeAnswer(find(tt.player), &a)
		if got := codesOf(d.report.Findings); !slices.Equal(got, tt.want) {
			t.Errorf("%s, %+v: %v, want %v", tt.player, a, got, tt.want)
		}
	}
}

// A frame is read as what it is, or not at all.
func TestParseFrame(t *testing.T) {
	t.Parallel()
	packet := datagram([]byte("message"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("255.255.255.255"))
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	binary.BigEndian.PutUint16(packet[22:], clientPort)
	frame := append(append(make([]byte, 12), 8, 0), packet...)
	h, fragment, ok := parseFrame(append(frame, make([]byte, 20)...)) // padding of short frames
	if !ok || fragment || string(h.data) != "message" || h.from.String() != "10.0.0.1:68" {
		t.Errorf("%+v %v %v", h, fragment, ok)
	}
	frame[ethernetLen+6] = 0x20 // more fragments
	if h, fragment, ok := parseFrame(frame); !ok || !fragment || h.from.Addr().String() != "10.0.0.1" {
		t.Errorf("%+v %v %v", h, fragment, ok)
	}
	for n := range frame {
		parseFrame(frame[:n])
	}
}

// The picture has a row for each machine, colours only if they are wanted, and ends with a verdict.
func TestPicture(t *testing.T) {
	t.Parallel()
	r := Report{Interface: "eth0", MAC: "02:00:00:00:00:01", Servers: []Server{{Address: "10.0.0.1", GivesAddresses: true}}, Clients: []Client{
		{Name: "BIOS PXE", Steps: []Step{{Stage: DHCP, State: OK}, {Stage: Proxy, State: Skipped}, {Stage: Fetch, State: Bad}}},
		{Name: "ordinary client", Steps: []Step{{Stage: DHCP, State: OK}}}}}
	r.add(Finding{Code: TFTPUnreachable, Severity: Problem, Text: "no answer", Do: "start it", Clients: []string{"BIOS PXE"}, Lines: []Line{{"dnsmasq", "enable-tftp"}}})
	r.add(Finding{Code: TFTPUnreachable, Severity: Problem, Text: "no answer", Do: "start it", Clients: []string{"x64 UEFI PXE"}})
	r.finish()
	var plain, coloured bytes.Buffer
	if err := r.Picture(&plain, Style{}); err != nil {
		t.Fatal(err)
	}
	want := `eth0 (no address), as machine 02:00:00:00:00:01
server 10.0.0.1 : gives addresses; answers after 0 ms

firmware        -> DHCP -> proxy -> TFTP/HTTP -> iPXE -> script -> kernel -> initramfs
BIOS PXE        -> ok   -> --    -> XX
ordinary client -> ok

1. problem tftp-unreachable: no answer
   concerns: BIOS PXE; x64 UEFI PXE
   do: start it
   dnsmasq:   enable-tftp

1 problem
`
	if plain.String() != want {
		t.Errorf("got\n%s\nwant\n%s", plain.String(), want)
	}
	if err := r.Picture(&coloured, Style{Color: true}); err != nil {
		t.Fatal(err)
	}
	if stripped := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured.String(), ""); stripped == coloured.String() || len(stripped) < len(want) {
		t.Errorf("%q", coloured.String())
	}
	out, err := json.Marshal(r)
	if err != nil || r.Healthy || !strings.Contains(string(out), `"notes":[]`) {
		t.Errorf("%s %v", out, err)
	}
}

// Every diagnosis has a test that names it.
func TestEveryCodeIsTested(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("report.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests []byte
	for _, pattern := range []string{"*_test.go", "../../cmd/hooksmith/internal/servetest/doctor_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tests = append(tests, content...)
		}
	}
	codes := regexp.MustCompile(`(?m)^\t(\w+) +Code = "`).FindAllSubmatch(source, -1)
	if len(codes) < 40 {
		t.Fatalf("%d codes", len(codes))
	}
	for _, m := range codes {
		if !regexp.MustCompile(`\b` + string(m[1]) + `\b`).Match(tests) {
			t.Errorf("no test names %s", m[1])
		}
	}
}

// An interface that is not there is an error; loopback works as far as it goes, and an end of ctx is said.
func TestRun(t *testing.T) {
	t.Parallel()
	if _, err := Run(t.Context(), Options{Interface: "nope0"}); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r, err := Run(ctx, Options{Interface: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Healthy || !r.Has(NotWhole) && !r.Has(RightMissing) {
		t.Errorf("%+v", r.Findings)
	}
}
