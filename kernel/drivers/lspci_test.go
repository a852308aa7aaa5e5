package drivers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"hooksmith/kernel"
)

// corpus is what the listings in testdata/lspci say, and which module of a
// complete kernel drives the device: "ahci?" if something is left out.
var corpus = map[string][]struct{ slot, modalias, name, driver, modules string }{
	"dell-r640-nnk.txt": {
		{"00:00.0", "pci:v00008086d00002020sv00001028sd00000716bc06sc00i*", "Intel Corporation Sky Lake-E DMI3 Registers", "", ""},
		{"00:14.0", "pci:v00008086d0000A1AFsv00001028sd00000716bc0Csc03i*", "Intel Corporation C620 Series Chipset Family USB 3.0 xHCI Controller", "xhci_hcd", "ehci_pci?"},
		{"00:17.0", "pci:v00008086d0000A182sv00001028sd00000716bc01sc06i*", "Intel Corporation C620 Series Chipset Family SATA Controller [AHCI mode]", "ahci", "ahci"},
		{"02:00.0", "pci:v00001556d0000BE00sv*sd*bc06sc04i*", "PLDA PCI Express Bridge", "", ""},
		{"03:00.0", "pci:v0000102Bd00000536sv00001028sd00000716bc03sc00i*", "Matrox Electronics Systems Ltd. Integrated Matrox G200eW3 Graphics Controller", "mgag200", "mgag200"},
		{"04:00.0", "pci:v000014E4d0000165Fsv00001028sd000008FFbc02sc00i*", "Broadcom Inc. and subsidiaries NetXtreme BCM5720 2-port Gigabit Ethernet PCIe", "tg3", "tg3"},
		{"18:00.0", "pci:v00001000d0000005Dsv00001028sd00001F47bc01sc04i*", "Broadcom / LSI MegaRAID SAS-3 3108 [Invader]", "megaraid_sas", "megaraid_sas"},
		{"19:00.0", "pci:v000014E4d000016D8sv00001028sd00001FE2bc02sc00i*", "Broadcom Inc. and subsidiaries BCM57416 NetXtreme-E Dual-Media 10G RDMA Ethernet Controller", "bnxt_en", "bnxt_en"},
	},
	"dell-r640-nnv.txt": {
		{"04:00.0", "pci:v000014E4d0000165Fsv00001028sd000008FFbc02sc00i*", "Broadcom Inc. and subsidiaries NetXtreme BCM5720 2-port Gigabit Ethernet PCIe", "tg3", "tg3"},
		{"d8:00.0", "pci:v0000144Dd0000A824sv00001028sd00002044bc01sc08i02", "Samsung Electronics Co Ltd NVMe SSD Controller PM173X", "nvme", "nvme"},
	},
	"hpe-gen10-vmmn.txt": {
		{"03:00.0", "pci:v000010DFd00000720sv0000103Csd0000220Abc02sc00i00", "", "be2net", "be2net"},
		{"01:00.0", "pci:v0000103Cd00003306sv00001590sd000000E4bc08sc80i00", "", "", "hpwdt"},
		{"01:00.2", "pci:v0000103Cd00003307sv00001590sd000000E4bc08sc80i00", "", "hpilo", "hpilo"},
		{"02:00.0", "pci:v000014E4d00001657sv0000103Csd000022BEbc02sc00i00", "", "tg3", "tg3"},
		{"5c:00.0", "pci:v00009005d0000028Fsv0000103Csd00000654bc01sc07i00", "", "smartpqi", "smartpqi"},
		{"af:00.0", "pci:v0000103Cd00003239sv0000103Csd000021C2bc01sc04i00", "", "hpsa", "hpsa"},
	},
	"cisco-ucs-n.txt": {
		{"00:11.5", "pci:v00008086d0000A1D2sv*sd*bc01sc06i*", "", "", "ahci"},
		{"06:00.0", "pci:v00001137d00000043sv*sd*bc02sc00i*", "", "", "enic"},
		{"07:00.0", "pci:v00001137d00000043sv*sd*bc02sc00i*", "", "", "enic"},
		{"08:00.0", "pci:v00001137d00000045sv*sd*bc0Csc04i*", "", "", "fnic"},
		{"3c:00.0", "pci:v00001000d00000014sv*sd*bc01sc04i*", "", "", "megaraid_sas"},
		{"5e:00.0", "pci:v000015B3d00001017sv*sd*bc02sc80i*", "", "", "mlx5_core"},
	},
	"supermicro-mm-nn.txt": {
		{"00:00.0", "pci:v00008086d000009A2sv000015D9sd00001B4Abc06sc00i00", "Intel Corporation Ice Lake Memory Map/VT-d", "", ""},
		{"05:00.0", "pci:v00008086d000015F3sv000015D9sd000015F3bc02sc00i00", "Intel Corporation Ethernet Controller I225-V", "", "igc"},
		{"31:00.0", "pci:v000015B3d00001017sv000015D9sd00000808bc02sc00i00", "Mellanox Technologies MT27800 Family [ConnectX-5]", "", "mlx5_core"},
		{"4b:00.0", "pci:v00008086d00001592sv00008086sd00000002bc02sc00i00", "Intel Corporation Ethernet Controller E810-C for QSFP", "", "ice"},
		{"65:00.0", "pci:v00008086d000028C0sv000015D9sd00001B4Abc01sc04i00", "Intel Corporation Volume Management Device NVMe RAID Controller", "", "vmd"},
		{"b1:00.0", "pci:v0000144Dd0000A80Asv0000144Dsd0000A801bc01sc08i02", "Samsung Electronics Co Ltd NVMe SSD Controller PM9A1/PM9A3/980PRO", "", "nvme"},
		{"b2:00.0", "pci:v00001000d000000A5sv00001000sd00004660bc01sc07i00", "Broadcom / LSI Fusion-MPT 24GSAS/PCIe SAS40xx", "", "mpi3mr"},
	},
	"supermicro-mmn.txt": {
		{"05:00.0", "pci:v00008086d000015F3sv000015D9sd000015F3bc02sc00i00", "", "", "igc"},
		{"b1:00.0", "pci:v0000144Dd0000A80Asv0000144Dsd0000A801bc01sc08i02", "", "", "nvme"},
		{"b3:00.0", "pci:v00008086d00001533sv*sd*bc02sc00i00", "", "", "igb"},
	},
	"aws-nitro-vmmnn-D.txt": {
		{"0000:00:00.0", "pci:v00008086d00001237sv*sd*bc06sc00i00", "Intel Corporation 440FX - 82441FX PMC [Natoma]", "", ""},
		{"0000:00:04.0", "pci:v00001D0Fd00008061sv*sd*bc01sc08i02", "Amazon.com, Inc. NVMe EBS Controller", "nvme", "nvme"},
		{"0000:00:05.0", "pci:v00001D0Fd0000EC20sv00001D0Fsd0000EC20bc02sc00i00", "Amazon.com, Inc. Elastic Network Adapter (ENA)", "ena", "ena"},
	},
	"vmware-nn.txt": {
		{"00:00.0", "pci:v00008086d00007190sv*sd*bc06sc00i*", "Intel Corporation 440BX/ZX/DX - 82443BX/ZX/DX Host bridge", "", ""},
		{"00:07.1", "pci:v00008086d00007111sv*sd*bc01sc01i*", "Intel Corporation 82371AB/EB/MB PIIX4 IDE", "", "ata_generic"},
		{"00:07.7", "pci:v000015ADd00000740sv*sd*bc08sc80i*", "VMware Virtual Machine Communication Interface", "", "vmw_vmci"},
		{"03:00.0", "pci:v000015ADd000007C0sv*sd*bc01sc07i*", "VMware PVSCSI SCSI Controller", "", "vmw_pvscsi"},
		{"0b:00.0", "pci:v000015ADd000007B0sv*sd*bc02sc00i*", "VMware VMXNET3 Ethernet Controller", "", "vmxnet3"},
	},
}

// TestLspci reads every form of listing, and finds the drivers for what is in it.
func TestLspci(t *testing.T) {
	tab := table(t)
	x := complete(tab, kernel.X86_64, nil, nil)
	s, err := policy(t).Select(x, kernel.Request{Groups: []string{kernel.AllGroups}, Modules: []string{"mgag200"}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := FromSelection("test", s, fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	corpus["cisco-ucs-n-old-windows.txt"] = corpus["cisco-ucs-n.txt"]
	for file, want := range corpus {
		t.Run(file, func(t *testing.T) {
			devices := readListing(t, file)
			if len(devices) != len(want) {
				t.Fatalf("%d devices, want %d", len(devices), len(want))
			}
			r, err := (&Checker{Artifact: a, Table: tab, Policy: policy(t)}).Check(devices)
			if err != nil {
				t.Fatal(err)
			}
			if r.Uncovered != 0 {
				t.Errorf("%d not covered", r.Uncovered)
			}
			for i, w := range want {
				d, res := devices[i], r.Devices[i]
				if strings.TrimPrefix(d.Slot, "0000:") != strings.TrimPrefix(w.slot, "0000:") || d.Modalias != w.modalias || d.Name != w.name || d.Driver != w.driver {
					t.Errorf("%+v, want %+v", d, w)
				}
				if got := res.modules(); got != w.modules && !strings.HasPrefix(got, w.modules+",") || w.modules == "" && got != "" {
					t.Errorf("%s %s: modules %q, want %q (%s)", d.Slot, d.Name, got, w.modules, res.State)
				}
			}
		})
	}
}

func readListing(t *testing.T, file string) []Device {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata/lspci", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	devices, err := devicesOf(ReadLspci(file, f))
	if err != nil {
		t.Fatal(err)
	}
	return devices
}

func TestLspciErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "l.txt: there is no device in it"},
		{"00:00.0 Host bridge: Intel Corporation 440FX\n", "l.txt:1: no numbers"},
		{"00:00.0 0600: 8086:1237\nhello\n", `l.txt:2: "hello" is no line of lspci`},
		{"\tSubsystem: x [1028:0716]\n", "l.txt:1: \"Subsystem: x [1028:0716]\" belongs to a device"},
		{"00:00.0 \"Host bridge\" \"Intel\" \"440FX\"\n", "l.txt:1: no numbers"},
		{"00:00.0 \"0600\"\n", "l.txt:1: \"\\\"0600\\\"\" has fewer than three"},
		{"Slot:\t00:00.0\nClass:\tHost bridge\n", "l.txt:2: no number in Class"},
		{"Slot:\t00:00.0\nClass:\t0600\n", "l.txt:1: the record that begins here has no Vendor"},
		{"lspci: Cannot open /x\n", "l.txt: there is no device in it: it should be the output of lspci -nn, lspci -nnk or lspci -vmmn, only messages"},
		{"Device:\t00:00.0\n", "l.txt:1: no number in Device"},
		{"Slot:\t00:00.0\nClass:\t0600\nClass:\t0600\n", "l.txt:3: a second Class in the record that begins at l.txt:1"},
		{"Slot:\t00:00.0\nProgIf:\tx\n", "l.txt:2: ProgIf"},
	} {
		if _, err := ReadLspci("l.txt", strings.NewReader(tt.in)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.in, err, tt.want)
		}
	}
}

func FuzzReadLspci(f *testing.F) {
	files, _ := filepath.Glob("testdata/lspci/*.txt")
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil {
			f.Add(string(b))
		}
	}
	f.Fuzz(func(t *testing.T, in string) {
		l, err := ReadLspci("f", strings.NewReader(in))
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("the error does not name the file: %v", err)
		}
		if (err == nil) != (l != nil && len(l.Devices) > 0) {
			t.Fatalf("%+v beside the error %v", l, err)
		}
		if err != nil {
			return
		}
		for _, d := range l.Devices {
			p, ok := ParsePCI(d.Modalias)
			if !ok || p != *d.PCI || !p.Vendor.Known || !p.Device.Known {
				t.Fatalf("%+v: %+v %v", d, p, ok)
			}
		}
	})
}
