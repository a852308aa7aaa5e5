package ipxe

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"hooksmith/serve/hardware"
)

// fakePE is the smallest file that debug/pe reads, with some text in it.
func fakePE(machine uint16, text string) []byte {
	b := make([]byte, 0x40+4+20)
	copy(b, "MZ")
	b[0x3c] = 0x40
	copy(b[0x40:], "PE\x00\x00")
	b[0x44], b[0x45] = byte(machine), byte(machine>>8)
	return append(b, text...)
}

const (
	amd64, arm64, i386, riscv64, loong64 = 0x8664, 0xaa64, 0x14c, 0x5064, 0x6264

	plainIPXE = "\x00https://ipxe.org\x00https\x00vcreate\x00"
	tinkIPXE  = plainIPXE + "imgverify\x00#!ipxe\nset user-class Tinkerbell\n"
)

func openSet(t testing.TB, files map[string][]byte) *Binaries {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: content}
	}
	set, err := OpenBinaries(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// fullSet is what Tinkerbell and Debian have together.
func fullSet(t testing.TB) *Binaries {
	return openSet(t, map[string][]byte{
		"undionly.kpxe": make([]byte, 1024), "ipxe.efi": fakePE(amd64, plainIPXE), "snp-arm64.efi": fakePE(arm64, plainIPXE),
		"snp-x86_64.efi": fakePE(amd64, tinkIPXE), "ipxe-riscv64.efi": fakePE(riscv64, plainIPXE),
		"ipxe-loong64.efi": fakePE(loong64, plainIPXE), "README": []byte("no"), "shim.efi": fakePE(amd64, "shim"),
	})
}

func TestArchitectures(t *testing.T) {
	rule, err := NewRule(fullSet(t), RuleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const pxe, http = "PXEClient:Arch:xxxxx:UNDI:003016", "HTTPClient:Arch:xxxxx:UNDI:003001"
	want := map[uint16]struct {
		kind   Kind
		binary string
	}{
		0: {BinaryTFTP, "undionly.kpxe"}, 7: {BinaryTFTP, "ipxe.efi"}, 9: {BinaryTFTP, "ipxe.efi"}, 11: {BinaryTFTP, "snp-arm64.efi"},
		16: {BinaryHTTP, "ipxe.efi"}, 19: {BinaryHTTP, "snp-arm64.efi"}, 20: {BinaryHTTP, "undionly.kpxe"},
		27: {BinaryTFTP, "ipxe-riscv64.efi"}, 28: {BinaryHTTP, "ipxe-riscv64.efi"},
		39: {BinaryTFTP, "ipxe-loong64.efi"}, 40: {BinaryHTTP, "ipxe-loong64.efi"}, 41: {BinaryTFTP, "snp-arm64.efi"},
	}
	for n := range uint16(60) { // every other number, also beyond the table, gets nothing and a reason
		class := pxe
		if Arch(n).HTTP() {
			class = http
		}
		d := rule.Decide(Client{MAC: "02:00:00:00:00:01", Architectures: []uint16{n}, VendorClass: class}, nil)
		w := want[n]
		if d.Kind != w.kind || d.Binary != w.binary || d.NoBinary != (w.binary == "") || d.Reason == "" {
			t.Errorf("%s: got %s %q (%s), want %s %q", Arch(n), d.Kind, d.Binary, d.Reason, w.kind, w.binary)
		}
	}
	if len(architectures) != 42 {
		t.Errorf("%d architectures; IANA has 0 to 41", len(architectures))
	}
}

func TestDecide(t *testing.T) {
	rule, err := NewRule(fullSet(t), RuleOptions{UserClasses: []string{"mine"}})
	if err != nil {
		t.Fatal(err)
	}
	const pxe = "PXEClient:Arch:00000:UNDI:002001"
	http := ParseFeatures([]byte{FeatureHTTP, 1, 1, FeatureEFI, 1, 1})
	noHTTP := ParseFeatures([]byte{FeatureTFTP, 1, 1})
	record := func(n hardware.Netboot) *hardware.Machine { return &hardware.Machine{Netboot: n} }
	tests := []struct {
		name   string
		client Client
		m      *hardware.Machine
		kind   Kind
		binary string
		reason string
	}{
		{"Tinkerbell", Client{Architectures: []uint16{0}, VendorClass: pxe, UserClasses: []string{"Tinkerbell"}}, nil, Script, "", "an iPXE of ours"},
		{"list with Tinkerbell", Client{UserClasses: []string{"iPXE", "Tinkerbell"}}, nil, Script, "", "an iPXE of ours"},
		{"Tinkerbell on an unknown architecture", Client{Architectures: []uint16{99}, UserClasses: []string{"Tinkerbell"}}, nil, Script, "", ""},
		{"own class", Client{UserClasses: []string{"mine"}}, nil, Script, "", "an iPXE of ours"},
		{"other case", Client{VendorClass: pxe, UserClasses: []string{"tinkerbell"}}, nil, BinaryTFTP, "undionly.kpxe", ""},
		{"stock with http", Client{Architectures: []uint16{7}, UserClasses: []string{"iPXE"}, Features: http}, nil, Script, "", "option 175"},
		{"stock without http", Client{Architectures: []uint16{0}, UserClasses: []string{"iPXE"}, Features: noHTTP}, nil, BinaryURL, "undionly.kpxe", "chained to ours"},
		{"stock without 175", Client{Architectures: []uint16{11}, UserClasses: []string{"iPXE"}}, nil, BinaryURL, "snp-arm64.efi", "chained to ours"},
		{"stock without http or binary", Client{Architectures: []uint16{6}, UserClasses: []string{"iPXE"}}, nil, Nothing, "", "no binary for IA32"},
		{"stock on Itanium with http", Client{Architectures: []uint16{2}, UserClasses: []string{"iPXE"}, Features: http}, nil, Script, "", ""},
		{"stock, record wants Tinkerbell's binary", Client{Architectures: []uint16{7}, UserClasses: []string{"iPXE"}, Features: http},
			record(hardware.Netboot{Binary: "snp-x86_64.efi"}), BinaryURL, "snp-x86_64.efi", "the hardware record wants"},
		{"stock, record wants another stock one: would loop", Client{Architectures: []uint16{7}, UserClasses: []string{"iPXE"}, Features: http},
			record(hardware.Netboot{Binary: "ipxe.efi"}), Script, "", ""},
		{"HTTPClient says 7", Client{Architectures: []uint16{7}, VendorClass: "HTTPClient"}, nil, BinaryHTTP, "ipxe.efi", ""},
		{"several values, first without binary", Client{Architectures: []uint16{6, 7}, VendorClass: pxe}, nil, BinaryTFTP, "ipxe.efi", ""},
		{"several values, none", Client{Architectures: []uint16{2, 6}, VendorClass: pxe}, nil, Nothing, "", "EFI Itanium (2): there is no iPXE for Itanium; EFI IA32 (6): no binary"},
		{"no 93, number in 60", Client{VendorClass: "PXEClient:Arch:00007:UNDI:003000"}, nil, BinaryTFTP, "ipxe.efi", ""},
		{"no 93, nothing in 60", Client{VendorClass: "PXEClient"}, nil, BinaryTFTP, "undionly.kpxe", ""},
		{"Raspberry Pi says 0", Client{MAC: "d8:3a:dd:00:00:01", Architectures: []uint16{0}, VendorClass: pxe}, nil, BinaryTFTP, "snp-arm64.efi", "Raspberry Pi (41)"},
		{"Raspberry Pi with UEFI", Client{MAC: "d8:3a:dd:00:00:01", Architectures: []uint16{19}, VendorClass: "HTTPClient"}, nil, BinaryHTTP, "snp-arm64.efi", "ARM64 HTTP"},
		{"an operating system", Client{MAC: "02:00:00:00:00:01"}, nil, Nothing, "", "not a network boot client"},
		{"not allowed", Client{VendorClass: pxe, UserClasses: []string{"Tinkerbell"}}, record(hardware.Netboot{Allow: hardware.Off}), Nothing, "", "does not allow"},
		{"record's binary", Client{Architectures: []uint16{7}, VendorClass: pxe}, record(hardware.Netboot{Binary: "snp-x86_64.efi"}), BinaryTFTP, "snp-x86_64.efi", "the hardware record's binary"},
		{"record's binary for another platform", Client{Architectures: []uint16{7}, VendorClass: pxe}, record(hardware.Netboot{Binary: "snp-arm64.efi"}),
			Nothing, "", "snp-arm64.efi is for ARM64 UEFI, the machine is EFI x64 (7)"},
		{"record's binary is not there", Client{Architectures: []uint16{7}, VendorClass: pxe}, record(hardware.Netboot{Binary: "../x"}), Nothing, "", `"../x" is not there; there are`},
		{"switch", Client{VendorClass: "nvos"}, record(hardware.Netboot{TFTPServer: "10.0.0.1", BootFileName: "x"}), Fixed, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := rule.Decide(test.client, test.m)
			if d.Kind != test.kind || d.Binary != test.binary || !strings.Contains(d.Reason, test.reason) {
				t.Errorf("got %s %q (%s), want %s %q (%s)", d.Kind, d.Binary, d.Reason, test.kind, test.binary, test.reason)
			}
		})
	}
}

func TestOverrides(t *testing.T) {
	set := fullSet(t)
	rule, err := NewRule(set, RuleOptions{Overrides: map[Arch]string{7: "snp-x86_64.efi", 5: "undionly.kpxe"}})
	if err != nil {
		t.Fatal(err)
	}
	for arch, want := range map[uint16]string{7: "snp-x86_64.efi", 9: "ipxe.efi", 5: "undionly.kpxe"} {
		if d := rule.Decide(Client{Architectures: []uint16{arch}, VendorClass: "PXEClient"}, nil); d.Binary != want {
			t.Errorf("%d: got %+v, want %s", arch, d, want)
		}
	}
	_, err = NewRule(set, RuleOptions{Overrides: map[Arch]string{7: "nope.efi", 11: "ipxe.efi"}})
	for _, want := range []string{`binary for EFI x64 (7): "nope.efi" is not there`, "binary for EFI ARM64 (11): ipxe.efi is for x64 UEFI"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestParseUserClass(t *testing.T) {
	tests := []struct {
		raw  string
		want []string
	}{
		{"", nil}, {"\x00", nil}, {"iPXE", []string{"iPXE"}}, {"iPXE\x00", []string{"iPXE"}}, {"\x04iPXE", []string{"iPXE"}},
		{"\x0aTinkerbell\x04iPXE", []string{"Tinkerbell", "iPXE"}}, {"\x05iPXE\x00", []string{"iPXE"}},
		{"\x05iPXE", []string{"\x05iPXE"}}, {"\x04iPXEx", []string{"\x04iPXEx"}}, {"\x00iPXE", []string{"\x00iPXE"}}, {"\xff", []string{"\xff"}},
		{"!" + strings.Repeat("a", 33), []string{strings.Repeat("a", 33), "!" + strings.Repeat("a", 33)}},
		{strings.Repeat("\x01a", 40), []string{strings.Repeat("\x01a", 40)}},
	}
	for _, test := range tests {
		if got := ParseUserClass([]byte(test.raw)); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.raw, got, test.want)
		}
	}
}

func TestParseFeatures(t *testing.T) {
	// QEMU's BIOS ROM (iPXE 1.0.0+git-20190125), captured.
	raw := []byte{177, 5, 1, 0x1a, 0xf4, 0x10, 0, 23, 1, 1, 19, 1, 1, 17, 1, 1, 39, 1, 1, 25, 1, 1, 16, 1, 2, 33, 1, 1, 21, 1, 1, 24, 1, 1, 18, 1, 1}
	f := ParseFeatures(raw)
	if !f.Present() || !f.Has(FeatureHTTP) || !f.Has(FeatureTFTP) || f.Has(FeatureHTTPS) || f.Has(FeatureEFI) || !f.Has(FeatureMenu) {
		t.Errorf("%+v", f)
	}
	for _, bad := range []string{"", "\x13", "\x13\x05\x01", "\x13\x00", "\x13\x01\x00", "\xff\x13\x01\x01"} {
		if f := ParseFeatures([]byte(bad)); f.Has(FeatureHTTP) || f.Present() != (bad != "") {
			t.Errorf("%q: %+v", bad, f)
		}
	}
	if f := ParseFeatures([]byte{0, 0, FeatureHTTP, 1, 1}); !f.Has(FeatureHTTP) {
		t.Error("padding")
	}
}
