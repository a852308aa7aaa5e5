package doctor

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func FuzzParseAnswer(f *testing.F) {
	f.Add(reply(f, func(m *dhcpv4.DHCPv4) {
		m.BootFileName = "ipxe.efi"
		m.Options[43] = []byte{6, 1, 8, 8, 7, 0, 1, 1, 10, 0, 0, 9, 9, 5, 0, 1, 2, 'h', 'i', 255}
		m.Options[52] = []byte{3}
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, _, err := parseAnswer(data)
		if err == nil && (len(a.File) > 512 || strings.ContainsAny(a.File+a.ServerName+a.VendorClass, "\x1b\n\x00")) {
			t.Errorf("%+v", a)
		}
		parseFrame(data)
		if err == nil {
			d := &doctor{report: &Report{}}
			all := players()
			for i := range all {
				d.judgeAnswer(&all[i], a)
			}
			a.Port = serverPort
			d.questions = []*question{{player: &all[1], answers: []*Answer{a}}}
			d.wire = newWire(byPackets)
			d.judge()
			_ = a.url()
		}
	})
}

func FuzzRunScript(f *testing.F) {
	f.Add("#!ipxe\nset a ${b:hexhyp}\n:l\niseq ${a} x && goto l || chain ${${c}}\nkernel --name x /k a\nchoose --default d --timeout 1 x\n")
	f.Fuzz(func(t *testing.T, text string) {
		u, _ := url.Parse(base)
		out := runScript(text, u, map[string]string{"mac": "02:00:00:00:00:01"})
		if len(out.initrds) > maxScriptFiles {
			t.Errorf("%d files", len(out.initrds))
		}
	})
}

func FuzzTFTPPacket(f *testing.F) {
	f.Add(oack("blksize", "1468", "tsize", "100", "windowsize", "4"), data(1, program[:512]))
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		f.Fatal(err)
	}
	conn.Close() // nothing is sent
	f.Fuzz(func(t *testing.T, first, second []byte) {
		x := &transfer{conn: conn, ask: edk2Ask, next: 1, got: tftpGot{tsize: -1, blksize: plainBlock, window: 1}}
		for _, p := range [][]byte{first, second, first, second} {
			if _, done, err := x.packet(p); done || err != nil {
				break
			}
		}
		if x.got.blksize > edk2Ask.blksize || x.got.window > edk2Ask.window {
			t.Errorf("%+v", x.got)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schema": 1, "builds": [{"artifacts": [{"name": "x", "aliases": ["y"], "size": 1, "sha256": "00"}]}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := parseManifest("hook.json", content)
		if err == nil {
			m.compare(&file{size: 2, sha256: "11"}, "y")
		}
	})
}
