package drivers

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// devicesOf is a listing without its warnings, of which it must have none.
func devicesOf(l *Listing, err error) ([]Device, error) {
	if err != nil {
		return nil, err
	}
	if len(l.Warnings) > 0 {
		return nil, fmt.Errorf("warnings: %q", l.Warnings)
	}
	return l.Devices, nil
}

func modaliasesOf(devices []Device) []string {
	var list []string
	for _, d := range devices {
		list = append(list, strings.TrimSpace(d.Slot+" "+d.Modalias))
	}
	return list
}

func TestParsePCIList(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
		err  string
	}{
		{"8086:1593", []string{"pci:v00008086d00001593sv*sd*bc*sc*i*"}, ""},
		{"8086:1593, 103C:3239:103c:21C2@0104\n144d:a808@010802", []string{
			"pci:v00008086d00001593sv*sd*bc*sc*i*", "pci:v0000103Cd00003239sv0000103Csd000021C2bc01sc04i*", "pci:v0000144Dd0000A808sv*sd*bc01sc08i02",
		}, ""},
		{"", nil, "--pci: no device named"},
		{"8086", nil, `--pci: "8086" is no device: write VENDOR:DEVICE`},
		{"8086:1593:1028", nil, "--pci: "},
		{"8086:1593@02", nil, "--pci: "},
		{"pci:v00008086d00001593", nil, "--pci: "},
	} {
		got, err := ParsePCIList("--pci", tt.in)
		if tt.err == "" != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), tt.err) || !slices.Equal(modaliasesOf(got), tt.want) {
			t.Errorf("%q: %q, %v", tt.in, modaliasesOf(got), err)
		}
	}
	if _, err := ParsePCIList("--pci", strings.Repeat("8086:1593,", maxDevices+1)); err == nil {
		t.Error("no limit")
	}
}

const nic = "pci:v00008086d00001593sv00008086sd00000002bc02sc00i00"

func TestReadModaliases(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
		err      string
	}{
		{"plain", "# a server\n" + nic + "\n\n" + nic + "\nvirtio:d00000001v00001AF4\r\n", []string{nic, nic, "virtio:d00000001v00001AF4"}, ""},
		{"grep", "/sys/devices/pci0000:00/0000:00:01.0/modalias:" + nic + "\n./bus/pci/devices/0000:00:01.0/modalias: " + nic + "\n/sys/devices/platform/ACPI0013:00/modalias:acpi:ACPI0013:\n", []string{"0000:00:01.0 " + nic, "ACPI0013:00 acpi:ACPI0013:"}, ""},
		{"uevent", "DRIVER=ice\nPCI_CLASS=20000\nMODALIAS=" + nic + "\n/sys/x/0000:00:02.0/uevent:PCI_SLOT_NAME=0000:00:02.0\n/sys/x/0000:00:02.0/uevent:MODALIAS=" + nic + "\n", []string{nic, "0000:00:02.0 " + nic}, ""},
		{"blanks in it", "of:NethernetT(null)Cvendor,chip\nacpi:VMGENCTR:VM GEN:\n", []string{"of:NethernetT(null)Cvendor,chip", "acpi:VMGENCTR:VM GEN:"}, ""},
		{"pattern", "pci:v00008086d00001593sv*sd*bc02sc00i*\n", []string{"pci:v00008086d00001593sv*sd*bc02sc00i*"}, ""},
		{"empty", "\n", nil, "m.txt: there is no modalias in it"},
		{"paths", "/sys/devices/pci0000:00/0000:00:01.0/modalias\n", nil, "m.txt:1: \"/sys/devices/pci0000:00/0000:00:01.0/modalias\" is the path of a file"},
		{"text", nic + "\nhello\n", nil, `m.txt:2: "hello" is no modalias`},
		{"short", "pci:v8086d1593\n", nil, "m.txt:1: \"pci:v8086d1593\" is no PCI modalias"},
		{"no modalias behind the bus", nic + "\nnote: a text\n", nil, `m.txt:2: "note: a text" is no modalias`},
		{"messages only", "grep: /sys/a: Permission denied\nfind: x\n", nil, "m.txt: there is no modalias in it: make it by  find /sys -name modalias -exec cat {} +, only messages of programs (2); the first is m.txt:1: \"grep: /sys/a"},
		{"control", "usb:v1\x01\n", nil, "m.txt:1: the modalias"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := devicesOf(ReadModaliases("m.txt", strings.NewReader(tt.in)))
			if tt.err == "" != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
				t.Fatalf("%v, want %q", err, tt.err)
			}
			if err == nil && !slices.Equal(modaliasesOf(got), tt.want) {
				t.Errorf("%q, want %q", modaliasesOf(got), tt.want)
			}
		})
	}
	if _, err := ReadModaliases("m.txt", strings.NewReader(strings.Repeat("x:y\n", maxDevices+1))); err == nil {
		t.Error("no limit of devices")
	}
	if _, err := ReadModaliases("m.txt", strings.NewReader(strings.Repeat("#########\n", maxListing/10+1))); err == nil {
		t.Error("no limit of bytes")
	}
}

// TestMessages: what programs say of errors on the way (2>&1, a terminal that
// was copied) is no device and does not end the listing.
func TestMessages(t *testing.T) {
	read := map[string]func(string, io.Reader) (*Listing, error){"modaliases": ReadModaliases, "lspci": ReadLspci}
	const slots = "Slot:\t3b:00.0\nClass:\t0200\npcilib: sysfs_read_vpd: read failed: Input/output error\nVendor:\t8086\nDevice:\t1593\n\n"
	for _, tt := range []struct {
		how, in string
		want    []string
		warning string
	}{
		{"modaliases", nic + "\ngrep: /sys/x: Permission denied\n/bin/grep: /sys/devices/y/modalias: Permission denied\nfind: \u2018/sys/z\u2019: Permission denied\n", []string{nic}, `programs (3), devices may be missing; the first is l.txt:2: "grep: /sys/x`},
		{"modaliases", "-bash: cd: /x: No such file\nvirtio:d00000001v00001AF4\n", []string{"virtio:d00000001v00001AF4"}, "programs (1)"},
		{"lspci", "lspci: Unable to load libkmod resources: error -2\n3b:00.0 0200: 8086:1593\npcilib: Cannot open /sys/x\n\tSubsystem: 8086:0002\n", []string{"3b:00.0 pci:v00008086d00001593sv00008086sd00000002bc02sc00i*"}, "programs (2)"},
		{"lspci", slots, []string{"3b:00.0 pci:v00008086d00001593sv*sd*bc02sc00i00"}, "programs (1)"},
	} {
		l, err := read[tt.how]("l.txt", strings.NewReader(tt.in))
		if err != nil || !slices.Equal(modaliasesOf(l.Devices), tt.want) || len(l.Warnings) != 1 || !strings.HasPrefix(l.Warnings[0], "l.txt: passed over") || !strings.Contains(l.Warnings[0], tt.warning) {
			t.Errorf("%q: %v, %+v", tt.in, err, l)
		}
	}
}

// TestReadSysfs reads a /sys as the kernel has it, links and all.
func TestReadSysfs(t *testing.T) {
	sys := t.TempDir()
	for dir, modalias := range map[string]string{
		"pci0000:00/0000:00:01.0":            nic,
		"pci0000:00/0000:00:02.0":            "pci:v00001AF4d00001041sv00001AF4sd00001041bc02sc00i00",
		"pci0000:00/0000:00:02.0/virtio0":    "virtio:d00000001v00001AF4",
		"platform/PNP0103:00":                "acpi:PNP0103:",
		"LNXSYSTM:00/LNXSYBUS:00/PNP0103:00": "acpi:PNP0103:",
		"system/cpu":                         "cpu:type:x86,ven0000:feature:,0000",
		"virtual/empty":                      "",
	} {
		dir = filepath.Join(sys, "devices", dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "modalias"), []byte(modalias+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../../bus/pci/drivers/ice", filepath.Join(sys, "devices/pci0000:00/0000:00:01.0/driver")); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSysfs(os.DirFS(sys))
	want := []string{"PNP0103:00 acpi:PNP0103:", "0000:00:01.0 " + nic, "0000:00:02.0 pci:v00001AF4d00001041sv00001AF4sd00001041bc02sc00i00", "virtio0 virtio:d00000001v00001AF4"}
	if err != nil || !slices.Equal(modaliasesOf(got), want) || got[1].Driver != "ice" {
		t.Errorf("%v, %q %+v", err, modaliasesOf(got), got)
	}
	if _, err := ReadSysfs(os.DirFS(t.TempDir())); err == nil {
		t.Error("an empty folder is no /sys")
	}
}

// TestHost reads the /sys of the machine that runs the test, whatever it has.
func TestHost(t *testing.T) {
	if _, err := os.Stat("/sys/devices"); err != nil {
		t.Skip(err)
	}
	devices, err := ReadSysfs(os.DirFS("/sys"))
	if err != nil && !strings.Contains(err.Error(), "no device has a modalias") {
		t.Fatal(err)
	}
	t.Logf("%d devices", len(devices))
}

func FuzzModaliases(f *testing.F) {
	f.Add("/sys/devices/pci0000:00/0000:00:01.0/modalias:" + nic + "\nMODALIAS=usb:v0B95p1790\n")
	f.Add("pci:v00008086d00001593sv*sd*bc02sc00i*\nacpi:PNP0C0A:")
	a := newAliases()
	for _, p := range []string{"pci:v*d*sv*sd*bc02sc*i*", "acpi*:PNP0C0A:*", "usb:v0B95p[0-9]*-x[!a-c]?*", "x[", "*:*"} {
		a.add(p, p)
	}
	f.Fuzz(func(t *testing.T, in string) {
		l, err := ReadModaliases("f", strings.NewReader(in))
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("the error does not name the file: %v", err)
		}
		if err != nil {
			return
		}
		for _, d := range l.Devices {
			a.match(&d)
			d.Kind()
			if again, err := ParseModalias("again", d.Modalias); err != nil || again.Modalias != d.Modalias {
				t.Fatalf("%q: %q, %v", d.Modalias, again.Modalias, err)
			}
		}
	})
}

func FuzzPCIList(f *testing.F) {
	f.Add("8086:1593:103c:21c2@010802,144d:a808")
	f.Fuzz(func(t *testing.T, in string) {
		devices, err := ParsePCIList("--pci", in)
		if (err == nil) != (len(devices) > 0) {
			t.Errorf("%d devices, %v", len(devices), err)
		}
	})
}
