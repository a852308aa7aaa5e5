package timeline

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
)

const mac = "52:54:00:12:34:56"

var start = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

// at makes an event some seconds after start.
func at(s float64, k event.Kind, change ...func(*event.Event)) event.Event {
	e := event.Event{Time: start.Add(time.Duration(s * float64(time.Second))), Kind: k, MAC: mac}
	for _, f := range change {
		f(&e)
	}
	return e
}

func client(s string) func(*event.Event) { return func(e *event.Event) { e.Client = s } }
func arch(s string) func(*event.Event)   { return func(e *event.Event) { e.Arch = s } }
func named(s string) func(*event.Event)  { return func(e *event.Event) { e.File = s } }
func peer(s string) func(*event.Event)   { return func(e *event.Event) { e.Peer = s } }
func detail(s string) func(*event.Event) { return func(e *event.Event) { e.Detail = s } }
func ip(s string) func(*event.Event)     { return func(e *event.Event) { e.IP = s } }
func only(s string) func(*event.Event)   { return func(e *event.Event) { e.MAC, e.IP = "", s } }
func sent(n, of int64, took time.Duration, again int) func(*event.Event) {
	return func(e *event.Event) { e.Bytes, e.Size, e.Duration, e.Retransmits = n, of, took, again }
}

var (
	firmware = client("PXEClient:Arch:00007:UNDI:003000")
	x64      = arch("x64 UEFI (7)")
	ipxe     = client("iPXE")
	system   = client("udhcp 1.36")
)

// dora is a round of DHCP that goes well.
func dora(s float64, who ...func(*event.Event)) []event.Event {
	who = slices.Concat(who, []func(*event.Event){ip("10.0.0.11")})
	return []event.Event{at(s, event.Discover, who...), at(s+.001, event.Offer, who...), at(s+1, event.Request, who...), at(s+1.002, event.Ack, who...)}
}

// load is a download that goes well.
func load(s float64, name string, size int64) []event.Event {
	http := strings.HasPrefix(name, "vmlinuz") || strings.HasPrefix(name, "initramfs")
	first, last := event.TFTPStart, event.TFTPDone
	if http {
		first, last = event.HTTPStart, event.HTTPDone
	}
	return []event.Event{at(s, first, only("10.0.0.11"), named(name), sent(0, size, 0, 0)),
		at(s+1, last, only("10.0.0.11"), named(name), sent(size, size, 500*time.Millisecond, 0))}
}

// wholeBoot is a UEFI boot up to the worker.
func wholeBoot(s float64) []event.Event {
	return slices.Concat(
		dora(s, firmware, x64),
		[]event.Event{at(s+2, event.TFTPProbe, only("10.0.0.11"), named("ipxe.efi"), sent(0, 1e6, 0, 0))},
		load(s+2.1, "ipxe.efi", 1e6), load(s+4, "autoexec.ipxe", 2000),
		dora(s+5, ipxe, x64),
		[]event.Event{at(s+7, event.Script, named("/52:54:00:12:34:56/auto.ipxe"), ip("10.0.0.11"))},
		load(s+7.5, "vmlinuz-x86_64", 12e6), load(s+9, "initramfs-x86_64", 200e6),
		dora(s+16, system),
		[]event.Event{at(s+25, event.Syslog, only("10.0.0.11"), detail("docker up")), at(s+30, event.WorkerUp, only("10.0.0.11"))},
	)
}

// known is a hardware file with the one machine.
func known(m hardware.Machine) (func(string) (*hardware.Machine, bool), func(netip.Addr) (*hardware.Machine, bool)) {
	return func(a string) (*hardware.Machine, bool) { return &m, a == m.MAC },
		func(a netip.Addr) (*hardware.Machine, bool) { return &m, m.IP.IsValid() && a == m.IP.Addr() }
}

func newTest(t *testing.T, c *clock, change ...func(*Options)) *Timeline {
	t.Helper()
	opt := Options{Now: c.read}
	for _, f := range change {
		f(&opt)
	}
	tl, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// TestDiagnose: a sequence of events and a moment, and what is then said.
func TestDiagnose(t *testing.T) {
	loaded := slices.Concat(dora(0, firmware, x64), load(2, "ipxe.efi", 1e6))
	scripted := slices.Concat(loaded, dora(5, ipxe, x64), []event.Event{at(7, event.Script, named("auto.ipxe"))})
	kernel := slices.Concat(scripted, load(8, "vmlinuz-x86_64", 12e6))
	initramfs := slices.Concat(kernel, load(10, "initramfs-x86_64", 200e6))
	booted := slices.Concat(initramfs, dora(20, system))
	three := slices.Concat(kernel, shift(kernel, 60), shift(kernel, 120))
	for _, tt := range []struct {
		name   string
		events []event.Event
		after  float64 // seconds
		state  State
		stage  Stage
		want   string // code severity, ...
		text   []string
	}{
		{"goes well", wholeBoot(0), 31, Up, StageWorker, "", nil},
		{"goes well, and again much later", slices.Concat(wholeBoot(0), wholeBoot(4000)), 4031, Up, StageWorker, "", nil},
		{"just asked", []event.Event{at(0, event.Discover, firmware)}, 2, Booting, StageDiscover, "", nil},
		{"not answered", []event.Event{at(0, event.Discover, firmware), at(4, event.Discover, firmware)}, 8, Stuck, StageDiscover, "no-offer error",
			[]string{"2 times", "--dhcp-mode proxy"}},
		{"not answered, with reason", []event.Event{at(0, event.Discover, firmware), at(0, event.Silence, detail("DHCP is off for this NIC"))}, 8, Booting, StageDiscover,
			"no-offer warning", []string{"DHCP is off for this NIC."}},
		{"offer not taken", dora(0, firmware)[:2], 17, Stuck, StageOffer, "stalled-after-offer error", []string{"Another DHCP server may"}},
		{"offer not taken, asks again", slices.Concat(dora(0, firmware)[:2], dora(4, firmware)[:2], dora(12, firmware)[:2]), 17, Stuck, StageOffer,
			"stalled-after-offer error", []string{"3 times"}},
		{"took another's offer", slices.Concat(dora(0, firmware)[:3], []event.Event{at(1, event.RivalDHCP, peer("10.0.0.66"))}), 2, Stuck, StageRequest,
			"rival-dhcp error", []string{"10.0.0.66, answered", "ip neigh show 10.0.0.66"}},
		{"another's offer, then ours", slices.Concat([]event.Event{at(0, event.Discover, firmware), at(0, event.RivalDHCP, peer("10.0.0.66"))}, dora(4, firmware)), 6,
			Booting, StageAck, "", nil},
		{"no ACK", dora(0, firmware)[:3], 9, Stuck, StageRequest, "no-ack error", []string{"state directory"}},
		{"no ACK, with reason", slices.Concat([]event.Event{at(0, event.Request, firmware), at(0, event.Silence, detail("REQUEST: a lease that this server knows nothing of"))}), 9,
			Booting, StageRequest, "no-ack warning", []string{"does not answer that: REQUEST: a lease", "ask anew"}},
		{"no ACK, disk full", slices.Concat(dora(0, firmware)[:3], []event.Event{at(1, event.Silence, detail("the lease could not be stored: no space left"))}), 9, Stuck, StageRequest,
			"no-ack error", []string{"no space left.", "state folder"}},
		{"proxy, and no server of addresses", []event.Event{at(0, event.Discover, firmware), at(0, event.Offer, firmware, detail("without an address: x64 UEFI"))}, 17, Stuck,
			StageOffer, "stalled-after-offer error", []string{"address from nobody", "another DHCP server gives"}},
		{"refused", slices.Concat(dora(0, firmware)[:3], []event.Event{at(1, event.Nak, detail("10.9.9.9 is not of this network"))}), 9, Booting, StageRequest,
			"address-refused warning", []string{"10.9.9.9"}},
		{"conflict", slices.Concat(dora(0, firmware), []event.Event{at(2, event.Decline)}), 3, Stuck, StageAck, "address-conflict error", []string{"arping"}},
		{"ACK, then nothing", dora(0, firmware, x64), 25, Stuck, StageAck, "stalled-after-ack error", []string{"port 69"}},
		{"no PXE client at all", dora(0, system), 600, Idle, StageAck, "", nil},
		{"boots from its disk", slices.Concat(dora(0, firmware), dora(30, system)), 90, Idle, StageAck, "", nil},
		{"probe only", slices.Concat(dora(0, firmware), []event.Event{at(2, event.TFTPProbe, only("10.0.0.11"), named("ipxe.efi"))}), 25, Stuck, StageProbe,
			"stalled-after-ack error", []string{"ipxe.efi", "Secure Boot"}},
		{"no binary", slices.Concat(dora(0, firmware, arch("RISC-V 32 UEFI (25)")), []event.Event{at(0, event.NoBinary, detail("none of 8 binaries runs there"))}), 60,
			Stuck, StageAck, "no-binary error", []string{"RISC-V 32", "none of 8", "--ipxe-dir"}},
		{"loop", slices.Concat(loaded, []event.Event{at(5, event.Loop)}), 100, Stuck, StageBinary, "binary-loop error", []string{"right after loading"}},
		{"binary does not start", loaded, 70, Stuck, StageBinary, "no-script error", []string{"ipxe.efi was loaded", "Secure Boot"}},
		{"iPXE asks for nothing", slices.Concat(loaded, dora(5, ipxe, x64)), 80, Stuck, StageBinary, "no-script error", []string{"iPXE runs", "HTTP port"}},
		{"iPXE's offer not taken", slices.Concat(loaded, dora(5, ipxe, x64)[:2]), 25, Stuck, StageBinary, "stalled-after-offer error", nil},
		{"binary cut off", slices.Concat(dora(0, firmware), load(2, "ipxe.efi", 1e6)[:1],
			[]event.Event{at(3, event.TFTPAbort, only("10.0.0.11"), named("ipxe.efi"), sent(37e4, 1e6, time.Second, 0), detail("no answer for 10 s"))}), 5,
			Stuck, StageBinary, "download-aborted error", []string{"at 37% (370.0 kB of 1.0 MB)", "no answer for 10 s"}},
		{"cut off, then well", slices.Concat(dora(0, firmware),
			[]event.Event{at(3, event.TFTPAbort, only("10.0.0.11"), named("ipxe.efi"), sent(37e4, 1e6, time.Second, 0))}, load(4, "ipxe.efi", 1e6)), 6,
			Booting, StageBinary, "", nil},
		{"loop, told by a script", slices.Concat(loaded, []event.Event{at(5, event.Loop, named("loop.ipxe"))}, load(6, "loop.ipxe", 500)), 100, Stuck, StageBinary,
			"binary-loop error", nil},
		{"file is not there", slices.Concat(scripted, []event.Event{at(8, event.HTTPAbort, named("/hook/vmlinuz-x86_64"), detail("not in the artifacts folder"))}), 9, Stuck,
			StageKernel, "download-aborted error", []string{"asked for vmlinuz-x86_64", "not in the artifacts folder."}},
		{"proxy, and nothing after", slices.Concat([]event.Event{at(0, event.Discover, firmware), at(0, event.Offer, firmware, detail("without an address: x64 UEFI")),
			at(1, event.Request, firmware, peer("10.0.0.2"))}), 9, Stuck, StageRequest, "stalled-after-ack error", []string{"4011"}},
		{"script, no kernel", scripted, 40, Stuck, StageScript, "no-kernel error", []string{"https", "preview " + mac}},
		{"kernel of another server", slices.Concat(scripted, dora(20, system)), 60, Booting, StageScript, "", nil},
		{"kernel hangs", slices.Concat(scripted, []event.Event{at(8, event.HTTPStart, named("vmlinuz-x86_64"), sent(0, 12e6, 0, 0)),
			at(9, event.HTTPProgress, named("vmlinuz-x86_64"), sent(6e6, 12e6, time.Second, 0))}), 140, Stuck, StageKernel, "download-hanging error", []string{"at 50%"}},
		{"kernel only", kernel, 80, Stuck, StageKernel, "no-initramfs error", nil},
		{"initramfs cut off", slices.Concat(kernel, []event.Event{at(10, event.HTTPAbort, named("initramfs-x86_64"), sent(20e6, 200e6, time.Second, 0))}), 12, Stuck,
			StageInitramfs, "download-aborted error", []string{"initramfs-x86_64", "at 10%"}},
		{"not heard of", initramfs, 300, Stuck, StageInitramfs, "no-syslog error", []string{"RAM", "console"}},
		{"system without log", booted, 300, Booting, StageInitramfs, "no-syslog warning", []string{"514"}},
		{"system without an address", slices.Concat(initramfs, dora(20, system)[:1]), 300, Stuck, StageInitramfs, "no-syslog error", []string{"portfast"}},
		{"worker missing", slices.Concat(booted, []event.Event{at(30, event.Syslog)}), 400, Stuck, StageSyslog, "no-worker error", []string{"registry"}},
		{"slow", slices.Concat(dora(0, firmware), []event.Event{at(40, event.TFTPDone, named("ipxe.efi"), sent(1e6, 1e6, 10*time.Second, 0))}), 41, Booting, StageBinary,
			"download-slow warning", []string{"100.0 kB/s"}},
		{"lossy", slices.Concat(dora(0, firmware), []event.Event{at(4, event.TFTPDone, named("ipxe.efi"), sent(1e6, 1e6, time.Second, 60))}), 5, Booting, StageBinary,
			"download-slow warning", []string{"60 were sent again"}},
		{"unknown, unanswered", []event.Event{at(0, event.Discover, firmware, func(e *event.Event) { e.MAC = "52:54:00:99:99:99" }),
			at(0, event.Unknown, func(e *event.Event) { e.MAC = "52:54:00:99:99:99" })}, 60, Stuck, StageDiscover, "unknown-machine error", []string{"hardware file"}},
		{"unknown, served", shiftMAC(dora(0, firmware)), 5, Booting, StageAck, "unknown-machine info", []string{"served nevertheless"}},
		{"the boot before failed", slices.Concat(scripted, shift(dora(0, firmware), 60)), 62, Booting, StageAck, "no-kernel warning", []string{"The boot before:"}},
		{"again and again", three, 135, Stuck, StageKernel, "boots-again error", []string{"3 times in 2 min", "came to: kernel"}},
		{"again after work", slices.Concat(wholeBoot(0), wholeBoot(60), wholeBoot(120)), 160, Up, StageWorker, "boots-again warning", []string{"workflow"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &clock{start}
			tl := newTest(t, c, func(o *Options) {
				o.Lookup, o.LookupIP = known(hardware.Machine{MAC: mac, Hostname: "node1", IP: netip.MustParsePrefix("10.0.0.11/24")})
			})
			for _, e := range tt.events {
				c.now = e.Time
				tl.Event(e)
			}
			c.now = start.Add(time.Duration(tt.after * float64(time.Second)))
			m := tl.Machines()[0]
			var codes []string
			all := ""
			for _, p := range m.Problems {
				codes = append(codes, p.Code+" "+string(p.Severity))
				all += p.Text + " " + p.Do + "\n"
				if p.Do == "" || p.Since.IsZero() || p.Since.After(c.now) || !slices.Contains(Codes(), p.Code) {
					t.Errorf("problem %+v", p)
				}
			}
			if got := strings.Join(codes, ", "); got != tt.want || m.State != tt.state || m.Stage != tt.stage {
				t.Errorf("%s at %s: %q, want %s at %s: %q\n%s", m.State, m.Stage, got, tt.state, tt.stage, tt.want, all)
			}
			for _, s := range tt.text {
				if !strings.Contains(all, s) {
					t.Errorf("%q is not said in: %s", s, all)
				}
			}
		})
	}
}

// shift moves events in time.
func shift(events []event.Event, seconds float64) []event.Event {
	out := slices.Clone(events)
	for i := range out {
		out[i].Time = out[i].Time.Add(time.Duration(seconds * float64(time.Second)))
	}
	return out
}

// TestBoots: which events make one boot, and its steps.
func TestBoots(t *testing.T) {
	c := &clock{start}
	reached := map[Stage]time.Duration{}
	tl := newTest(t, c, func(o *Options) { o.Reached = func(s Stage, d time.Duration) { reached[s] = d } })
	for _, e := range slices.Concat(wholeBoot(0), wholeBoot(100)) {
		c.now = e.Time
		tl.Event(e)
	}
	d, ok := tl.Machine(mac)
	if !ok || len(d.History) != 1 || d.Count != 2 {
		t.Fatalf("%d earlier boots, %d counted, want 1 and 2", len(d.History), d.Count)
	}
	var got []string
	for _, s := range d.Boot.Steps {
		got = append(got, fmt.Sprintf("%s/%s", s.Stage, s.Phase))
	}
	want := "discover/firmware offer/firmware request/firmware ack/firmware probe/firmware binary/firmware binary/firmware " +
		"discover/ipxe offer/ipxe request/ipxe ack/ipxe script/ipxe kernel/ipxe initramfs/ipxe discover/os offer/os request/os ack/os syslog/os worker/os"
	if strings.Join(got, " ") != want {
		t.Errorf("steps\n%s\nwant\n%s", strings.Join(got, " "), want)
	}
	if k := d.Boot.last(StageKernel); k.Rate != 24e6 || k.Bytes != 12e6 || k.Running {
		t.Errorf("kernel %+v", k)
	}
	if len(reached) != len(Stages()) || reached[StageWorker] != 30*time.Second {
		t.Errorf("reached %v", reached)
	}
	for _, e := range []event.Event{at(2000, event.Request, system, ip("10.0.0.11")), at(2000, event.Ack, system, ip("10.0.0.11"))} {
		tl.Event(e)
	}
	if d, _ := tl.Machine(mac); len(d.Boot.Steps) != len(got) || d.Count != 2 {
		t.Errorf("a renewal has made %d steps, %d boots", len(d.Boot.Steps), d.Count)
	}
}

// TestOrphans: where another server gives the addresses, a machine's MAC comes
// with its script, and what it loaded before is its own.
func TestOrphans(t *testing.T) {
	c := &clock{start}
	tl := newTest(t, c)
	for _, e := range slices.Concat(load(0, "ipxe.efi", 1e6), []event.Event{at(3, event.Script, ip("10.0.0.11"), named("auto.ipxe"))}) {
		c.now = e.Time
		tl.Event(e)
	}
	m := tl.Machines()
	if len(m) != 1 || len(m[0].Boot.Steps) != 2 || m[0].Boot.Steps[0].File != "ipxe.efi" || tl.Status().Unplaced != 0 {
		t.Fatalf("machines %+v", m)
	}
}

// TestRows: what is offered for copying is read by the parsers once the address
// is filled in.
func TestRows(t *testing.T) {
	rows := Rows(mac, "ARM64 UEFI (11)")
	header, row := rows[1].Text, rows[0].Text
	if _, err := hardware.ParseCSV("hardware.csv", []byte(header+"\n"+row+"\n")); err == nil || !strings.Contains(err.Error(), "ip_address") {
		t.Errorf("the row does not ask for its address: %v", err)
	}
	yaml := "machines:\n" + strings.ReplaceAll(rows[2].Text, "ip:   ", "ip: 10.0.0.11/24 #")
	data, err := hardware.ParseYAML("x.yaml", []byte(yaml))
	if err != nil || len(data.Machines) != 1 || data.Machines[0].MAC != mac || data.Machines[0].Arch == "" {
		t.Errorf("%s: %+v, %v", yaml, data, err)
	}
	if _, err := hardware.ParseYAML("x.yaml", []byte("machines:\n"+rows[2].Text)); err != nil {
		t.Logf("without an address: %v", err)
	}
}

// shiftMAC makes events those of a machine that the hardware data do not know.
func shiftMAC(events []event.Event) []event.Event {
	out := slices.Clone(events)
	for i := range out {
		out[i].MAC = "52:54:00:99:99:99"
	}
	return out
}
