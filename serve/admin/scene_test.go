package admin

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"hooksmith/serve/event"
	"hooksmith/serve/hardware"
	"hooksmith/serve/ipxe"
	"hooksmith/serve/timeline"
)

const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`

// scene is a server in the middle of its day, with a clock of its own.
type scene struct {
	t        *testing.T
	mu       sync.Mutex
	now      time.Time
	hardware []hardware.Machine
	status   hardware.Status
	notReady []string
	*timeline.Timeline
	*Handler
	server *httptest.Server
}

func (s *scene) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *scene) machines() []hardware.Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hardware
}

func (s *scene) lookup(mac string) (*hardware.Machine, bool) {
	for i, m := range s.machines() {
		if m.MAC == mac {
			return &s.hardware[i], true
		}
	}
	return nil, false
}

func mac(n int) string { return fmt.Sprintf("52:54:00:00:00:%02x", n) }

func newScene(t *testing.T, change ...func(*Config)) *scene {
	t.Helper()
	s := &scene{t: t, now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
	for n := 1; n <= 6; n++ {
		s.hardware = append(s.hardware, hardware.Machine{MAC: mac(n), Hostname: fmt.Sprintf("worker-%02d.rack4.example.com", n),
			IP: netip.MustParsePrefix(fmt.Sprintf("10.20.0.%d/24", 10+n))})
	}
	s.status = hardware.Status{Machines: 6, Generation: 1, Loaded: s.now, Files: []hardware.FileStatus{{Path: "/etc/hooksmith/hardware.csv", Machines: 6, Loaded: s.now}}}
	metrics := NewMetrics()
	tl, err := timeline.Open(timeline.Options{Now: s.clock, Lookup: s.lookup, Reached: metrics.Reached})
	if err != nil {
		t.Fatal(err)
	}
	s.Timeline = tl
	config := Config{Timeline: tl, Now: s.clock, Version: "v0.2.0", Title: "boot.rack4.example.com", Metrics: metrics,
		Hardware: s.machines,
		HardwareStatus: func() *hardware.Status {
			s.mu.Lock()
			defer s.mu.Unlock()
			c := s.status
			return &c
		},
		Leases: func() []Lease {
			return []Lease{{IP: "10.20.0.11", MAC: mac(1), State: "active", Hostname: hostile, Expires: s.clock().Add(50 * time.Minute)},
				{IP: "10.20.0.12", MAC: mac(2), State: "released", Expires: s.clock().Add(40 * time.Second)},
				{IP: "10.20.0.200", State: "quarantined", Detail: "declined by " + mac(9), Expires: s.clock().Add(9 * time.Minute)}}
		},
		Preview: func(m string) (ipxe.Preview, error) {
			if _, ok := s.lookup(m); !ok {
				return ipxe.Preview{}, errors.New("no hardware file has this machine")
			}
			return ipxe.Preview{Origin: "the default script", Script: "#!ipxe\necho " + hostile + "\n"}, nil
		},
		Interfaces: func() []Interface {
			return []Interface{{Name: "eth1", Up: true, Addresses: []string{"10.20.0.1/24", "fe80::1/64"}}}
		},
		Services: func() []Service {
			return []Service{{Name: "DHCP", Address: "eth1, UDP 67 and 4011", Detail: "reservation"}, {Name: "TFTP", Address: "10.20.0.1:69", Detail: "8 boot binaries"},
				{Name: "HTTP", Address: "10.20.0.1:8080", Detail: "HookOS v0.2.0 from out/hook"}, {Name: "syslog", Address: "10.20.0.1:514", Detail: "UDP and TCP"}}
		},
		Settings: func() []Setting { return []Setting{{"dhcp-mode", "reservation"}, {"artifacts", "out/hook"}} },
		NotReady: func() []string { s.mu.Lock(); defer s.mu.Unlock(); return s.notReady },
	}
	for _, f := range change {
		f(&config)
	}
	if s.Handler, err = New(config); err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewServer(s.Handler)
	s.server.Config.RegisterOnShutdown(s.Stop)
	t.Cleanup(func() { s.Stop(); s.server.Close() })
	return s
}

// wait lets time go by.
func (s *scene) wait(seconds float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(time.Duration(seconds * float64(time.Second)))
}

// do is an event of now, after a pause.
func (s *scene) do(seconds float64, e event.Event) {
	s.wait(seconds)
	e.Time = s.clock()
	s.Event(e)
	s.config.Metrics.Event(e)
}

const (
	x64      = "x64 UEFI (7)"
	firmware = "PXEClient:Arch:00007:UNDI:003000"
)

// address is a round of DHCP.
func (s *scene) address(n int, client, arch string) {
	ip := fmt.Sprintf("10.20.0.%d", 10+n)
	s.do(.02, event.Event{Kind: event.Discover, MAC: mac(n), Client: client, Arch: arch})
	s.do(.01, event.Event{Kind: event.Offer, MAC: mac(n), IP: ip, Client: client, Arch: arch})
	s.do(.9, event.Event{Kind: event.Request, MAC: mac(n), Client: client, Arch: arch})
	s.do(.01, event.Event{Kind: event.Ack, MAC: mac(n), IP: ip, Client: client, Arch: arch})
}

// load is a whole download.
func (s *scene) load(n int, first, last event.Kind, file string, size int64, seconds float64) {
	s.do(.2, event.Event{Kind: first, MAC: mac(n), File: file, Size: size})
	s.do(seconds, event.Event{Kind: last, MAC: mac(n), File: file, Size: size, Bytes: size, Duration: time.Duration(seconds * 1e9)})
}

// boot takes a machine up to a stage.
func (s *scene) boot(n int, to timeline.Stage) {
	steps := []struct {
		stage timeline.Stage
		do    func()
	}{
		{timeline.StageAck, func() { s.address(n, firmware, x64) }},
		{timeline.StageBinary, func() {
			s.do(.2, event.Event{Kind: event.TFTPProbe, MAC: mac(n), File: "ipxe.efi", Size: 1_050_624})
			s.load(n, event.TFTPStart, event.TFTPDone, "ipxe.efi", 1_050_624, .8)
		}},
		{timeline.StageScript, func() {
			s.wait(1.4)
			s.address(n, "Tinkerbell", x64)
			s.do(.3, event.Event{Kind: event.Script, MAC: mac(n), File: "/" + mac(n) + "/auto.ipxe"})
		}},
		{timeline.StageKernel, func() { s.load(n, event.HTTPStart, event.HTTPDone, "/hook/vmlinuz-x86_64", 11_800_000, .4) }},
		{timeline.StageInitramfs, func() { s.load(n, event.HTTPStart, event.HTTPDone, "/hook/initramfs-x86_64", 161_000_000, 2.1) }},
		{timeline.StageSyslog, func() {
			s.wait(4)
			s.address(n, "udhcp 1.37", "")
			s.wait(2)
			s.Log(timeline.Line{MAC: mac(n), App: "hook-docker", Severity: 6, Text: "dockerd: API listen on /var/run/docker.sock"})
		}},
		{timeline.StageWorker, func() {
			s.wait(5)
			s.Log(timeline.Line{MAC: mac(n), App: "tink-worker/5f1c2a9b0d3e", Severity: 6, Text: "connected to 10.20.0.2:42113, waiting for a workflow"})
			s.Log(timeline.Line{MAC: mac(n), App: "tink-worker/5f1c2a9b0d3e", Severity: 4, Text: "no workflow for this worker yet"})
		}},
	}
	for _, step := range steps {
		step.do()
		if step.stage == to {
			return
		}
	}
}

// day plays machines in all conditions.
func (s *scene) day() {
	s.boot(1, timeline.StageWorker)
	s.boot(2, timeline.StageWorker)
	s.wait(30)
	s.boot(5, timeline.StageScript)
	s.do(.2, event.Event{Kind: event.HTTPStart, MAC: mac(5), File: "/hook/vmlinuz-x86_64", Size: 11_800_000})
	s.do(.6, event.Event{Kind: event.HTTPAbort, MAC: mac(5), File: "/hook/vmlinuz-x86_64", Size: 11_800_000, Bytes: 4_366_000, Duration: 6e8, Detail: "connection reset by peer"})
	s.do(1, event.Event{Kind: event.Discover, MAC: mac(4), Client: firmware, Arch: x64})
	s.do(.01, event.Event{Kind: event.Offer, MAC: mac(4), IP: "10.20.0.14", Client: firmware, Arch: x64})
	s.do(2, event.Event{Kind: event.RivalDHCP, MAC: mac(4), Peer: "10.20.0.254"})
	s.do(20, event.Event{Kind: event.Discover, MAC: mac(0x99), Client: "PXEClient:Arch:00011:UNDI:003000", Arch: "ARM64 UEFI (11)"})
	s.do(0, event.Event{Kind: event.Unknown, MAC: mac(0x99)})
	s.boot(3, timeline.StageKernel)
	s.do(.2, event.Event{Kind: event.HTTPStart, MAC: mac(3), File: "/hook/initramfs-x86_64", Size: 161_000_000})
	s.do(1, event.Event{Kind: event.HTTPProgress, MAC: mac(3), File: "/hook/initramfs-x86_64", Size: 161_000_000, Bytes: 71_000_000, Duration: 1e9})
}
