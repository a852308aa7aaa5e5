package drivers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"hooksmith/kernel"
)

// checker is for a kernel with all modules of the table but those that are
// built in or not there, and some firmware.
func checker(t *testing.T, builtin, without, groups []string, firmware ...string) *Checker {
	t.Helper()
	tab := table(t)
	s, err := policy(t).Select(complete(tab, kernel.X86_64, builtin, without), kernel.Request{Groups: groups})
	if err != nil {
		t.Fatal(err)
	}
	root := fstest.MapFS{}
	for _, f := range firmware {
		root["usr/lib/firmware/"+f] = &fstest.MapFile{}
	}
	a, err := FromSelection("test", s, root)
	if err != nil {
		t.Fatal(err)
	}
	return &Checker{Artifact: a, Table: tab, Policy: policy(t), Own: "hook-generic-amd64", Flavors: []Flavor{{ID: "hook-debian-amd64", Arch: kernel.X86_64, Groups: []string{"all"}}}}
}

func devices(t *testing.T, lines ...string) []Device {
	t.Helper()
	var all []Device
	for _, l := range lines {
		read := func() ([]Device, error) { return ParsePCIList("--pci", l) }
		if strings.Contains(l, ":v") || strings.HasPrefix(l, "vmbus:") || strings.HasPrefix(l, "acpi:") || strings.HasPrefix(l, "platform:") {
			read = func() ([]Device, error) { return devicesOf(ReadModaliases("m", strings.NewReader(l))) }
		}
		d, err := read()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d...)
	}
	return all
}

func TestCheck(t *testing.T) {
	all := []string{kernel.AllGroups}
	for _, tt := range []struct {
		name     string
		checker  *Checker
		device   string
		state    State
		kind     Kind
		required bool
		modules  string
		todo     string // a part of it
	}{
		{"module", checker(t, nil, nil, all, "intel/ice/ddp/ice.pkg"), "8086:1593", OK, Network, true, "ice", ""},
		{"firmware is optional", checker(t, nil, nil, all), "8086:1593", OK, Network, true, "ice", "--firmware ice (Debian's firmware-intel-misc)"},
		{"firmware is essential", checker(t, nil, nil, all), "14e4:164e", NoFirmware, Network, true, "bnx2x", "--firmware bnx2x"},
		{"some firmware is in", checker(t, nil, nil, all, "bnx2x/bnx2x-e1-7.13.21.0.fw"), "14e4:164e", OK, Network, true, "bnx2x", "--firmware bnx2x"},
		{"built in", checker(t, []string{"nvme", "nvme_core"}, nil, all), "144d:a80a:144d:a801@010802", BuiltIn, Storage, true, "nvme", ""},
		{"interface left out", checker(t, nil, nil, all), "144d:aaaa@0108", Maybe, Storage, true, "nvme?", ""},
		{"class left out", checker(t, nil, nil, all), "144d:aaaa", Undecidable, Unknown, true, "", "144d:aaaa@0108"},
		{"subsystem left out", checker(t, nil, nil, all), "103c:3239", Maybe, Storage, true, "hpsa?", ""},
		{"not in the group", checker(t, nil, nil, []string{"nic"}), "1000:0014", Missing, Storage, true, "", "megaraid_sas: add storage to the flavor's modules"},
		{"not in the kernel", checker(t, nil, []string{"be2net"}, all), "10df:0720", Missing, Network, true, "", "be2net: flavor hook-debian-amd64 (module group nic), or CONFIG_BE2NET=m (hooksmith kernel-config hook-generic-amd64 --driver be2net)"},
		{"nobody's", checker(t, nil, nil, all), "dead:beef@0200", Undrivable, Network, true, "", "no driver in the complete kernel either (Debian linux-image-"},
		{"not vital", checker(t, nil, nil, all), "dead:beef@0780", NotNeeded, Other, false, "", ""},
		{"wireless", checker(t, nil, nil, all), "8086:2723@0280", Missing, Wireless, false, "", "leaves it out on purpose"},
		{"Fibre Channel", checker(t, nil, nil, all), "1137:0045@0c04", OK, Storage, true, "fnic", ""},
		{"unassigned class", checker(t, nil, nil, all), "1af4:1041@ff00", OK, Network, true, "virtio_pci,virtio_net", ""},
		{"virtio without its driver", checker(t, nil, []string{"virtio_net"}, all), "1af4:1041@0200", Missing, Network, true, "virtio_pci", "virtio_net: "},
		{"virtio without its bus", checker(t, nil, []string{"virtio_pci"}, all), "1af4:1001@0100", Missing, Storage, true, "virtio_blk", "virtio_pci: "},
		{"virtio balloon", checker(t, nil, nil, all), "1af4:1045@ff00", OK, Other, false, "virtio_pci,virtio_balloon", ""},
		{"Hyper-V", checker(t, nil, nil, all), "vmbus:635161f83edfc546913ff2d2f965ed0e", OK, Network, true, "hv_netvsc", ""},
		{"Hyper-V disk missing", checker(t, nil, nil, []string{"nic"}), "vmbus:d96361baa104294db60572e2ffb1dc7f", Missing, Storage, true, "", "add storage to"},
		{"USB adapter", checker(t, nil, nil, []string{"nic"}), "usb:v0B95p1790d0100dc00dsc00dp00icFFiscFFip00in00", Missing, USB, false, "", "add nic-usb to"},
		{"floppy", checker(t, nil, nil, all), "acpi:PNP0700:", Missing, Storage, false, "", "on purpose"},
		{"platform of no interest", checker(t, nil, nil, all), "platform:no_such", NotNeeded, Other, false, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := tt.checker.Check(devices(t, tt.device))
			if err != nil || len(r.Devices) != 1 {
				t.Fatalf("%v, %+v", err, r)
			}
			got := r.Devices[0]
			if got.State != tt.state || got.Kind != tt.kind || got.Required != tt.required {
				t.Errorf("%s, %s, required %v: %+v", got.State, got.Kind, got.Required, got)
			}
			if m := got.modules(); m != tt.modules {
				t.Errorf("modules %q, want %q", m, tt.modules)
			}
			if todo := strings.Join(got.Todo, "\n"); !strings.Contains(todo, tt.todo) || tt.todo == "" && todo != "" {
				t.Errorf("todo %q, want %q", todo, tt.todo)
			}
			if covered := tt.state == OK || tt.state == BuiltIn || tt.state == Maybe; errors.Is(r.Err(), ErrUncovered) == (covered || !tt.required) {
				t.Errorf("covered %v: %v", covered, r.Err())
			}
		})
	}
}

// TestCheckOtherArch: a driver that only another architecture has.
func TestCheckOtherArch(t *testing.T) {
	tab := table(t)
	s, err := policy(t).Select(complete(tab, kernel.AArch64, nil, nil), kernel.Request{Groups: []string{kernel.AllGroups}})
	if err != nil {
		t.Fatal(err)
	}
	// An artifact cannot have what is not made for it.
	s.Modules = nil
	a, err := FromSelection("arm", s, fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := (&Checker{Artifact: a, Table: tab}).Check(devices(t, "1137:0045@0c04"))
	if err != nil || r.Devices[0].State != Undrivable || !strings.Contains(r.Devices[0].Todo[0], "fnic drives it, which is not for aarch64") {
		t.Errorf("%v, %+v", err, r.Devices)
	}
}

func TestReportText(t *testing.T) {
	c := checker(t, nil, []string{"be2net"}, []string{kernel.AllGroups})
	list := devices(t, "8086:1593@0200", "10df:0720", "dead:beef@0780")
	list[0].Name, list[0].Slot = "Ethernet \x1b[31m Controller "+strings.Repeat("é", 60), "3b:00.0"
	r, err := c.Check(list)
	if err != nil {
		t.Fatal(err)
	}
	var short, long bytes.Buffer
	if err := errors.Join(r.WriteText(&short, false), r.WriteText(&long, true)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"8086:1593  0200   3b:00.0 Ethernet ?[31m", "é..  ice ", "1 of 1 missing", "CONFIG_BE2NET=m", "x86_64: 1 of 2 network and storage devices covered. 1 devices that need no driver are not shown (--all)."} {
		if !strings.Contains(short.String(), want) {
			t.Errorf("no %q in\n%s", want, short.String())
		}
	}
	if strings.Contains(short.String(), "dead:beef") || !strings.Contains(long.String(), "dead:beef") || strings.Contains(long.String(), "\x1b") {
		t.Errorf("%s", long.String())
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `"state":"missing"`) || !strings.Contains(string(b), `"arch":"x86_64"`) || !strings.Contains(string(b), `"modules":[]`) {
		t.Errorf("%v %s", err, b)
	}
	if err := r.Err(); fmt.Sprint(err) != "not covered: 1 of 2 network and storage devices will not work with test" {
		t.Error(err)
	}
}

func TestDisksNeedTheirDriver(t *testing.T) {
	c := checker(t, nil, nil, []string{kernel.AllGroups})
	delete(c.Artifact.modules, "sd_mod")
	r, err := c.Check(devices(t, "1000:0014"))
	if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "sd_mod") {
		t.Errorf("%v %q", err, r.Warnings)
	}
}

func TestList(t *testing.T) {
	c := checker(t, []string{"nvme"}, nil, []string{"nic", "nvme"}, "intel/ice/ddp/ice.pkg")
	inv := List(c.Artifact, c.Table)
	byName := map[string]Listed{}
	for _, d := range inv.Drivers {
		byName[d.Name] = d
	}
	if d := byName["ice"]; d.Kind != Network || d.Devices < 20 || len(d.Firmware) != 1 || len(d.FirmwareMissing) != 0 || d.Path != "drivers/net/ethernet/intel/ice/ice" {
		t.Errorf("%+v", d)
	}
	if d := byName["nvme"]; !d.BuiltIn || d.Kind != Storage || d.Devices == 0 {
		t.Errorf("%+v", d)
	}
	if d := byName["bnx2x"]; len(d.FirmwareMissing) == 0 || inv.Drivers[0].Kind != Network {
		t.Errorf("%+v %+v", d, inv.Drivers[0])
	}
	var b bytes.Buffer
	if err := inv.WriteText(&b); err != nil || !strings.Contains(b.String(), "\nnetwork  ice ") || !strings.Contains(b.String(), "built in") {
		t.Errorf("%v\n%.500s", err, b.String())
	}
}

func TestTable(t *testing.T) {
	tab := table(t)
	if len(tab.drivers) < 1500 || !strings.Contains(tab.From, "linux-image-") || !strings.Contains(tab.From, "linux-source-") {
		t.Errorf("%d drivers, from %q", len(tab.drivers), tab.From)
	}
	for name, symbol := range map[string]string{"be2net": "CONFIG_BE2NET", "ice": "CONFIG_ICE", "mlx5_core": "CONFIG_MLX5_CORE", "fnic": "CONFIG_FCOE_FNIC", "hpilo": "CONFIG_HP_ILO", "nvme": "CONFIG_BLK_DEV_NVME", "igc": "CONFIG_IGC", "virtio_pci": "CONFIG_VIRTIO_PCI"} {
		if d := tab.Lookup(name); d == nil || d.Symbol != symbol {
			t.Errorf("%s: %+v, want %s", name, d, symbol)
		}
	}
	var list []Driver
	for _, d := range tab.drivers {
		list = append(list, *d)
	}
	var one, two bytes.Buffer
	if err := errors.Join(WriteTable(&one, tab.From, list), WriteTable(&two, tab.From, list)); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("%v: the same drivers, other bytes", err)
	}
	again, err := ReadTable(&one)
	if err != nil || len(again.drivers) != len(list) || again.From != tab.From {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "# hooksmith driver table 2: x\n", tableMagic + "x\n", tableMagic + "x\na\tb\n", tableMagic + "x\na\tb\tC\tsparc\t\tpci:x\n"} {
		if _, err := ReadTable(bytes.NewReader(packed(t, bad))); err == nil {
			t.Errorf("%q is taken for a table", bad)
		}
	}
}
