package devlink

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree makes a sysfs: files below devices/ and a link class/block/NAME to each folder below a block/ or nvme folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	for name, text := range files {
		file := filepath.Join(sys, "devices", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if base := filepath.Base(file); base == "size" {
			link := filepath.Join(sys, "class/block", filepath.Base(filepath.Dir(file)))
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Dir(file), link); err != nil {
				t.Fatal(err)
			}
		}
	}
	return sys
}

// page83 is a device identification page.
func page83(designators ...[]byte) string {
	body := bytes.Join(designators, nil)
	return string(binary.BigEndian.AppendUint16([]byte{0, 0x83}, uint16(len(body)))) + string(body)
}

func designator(kind byte, value string) []byte {
	return append([]byte{2, kind, 0, byte(len(value))}, value...)
}

const (
	scsi  = "pci0000:00/0000:00:1f.2/"
	sata  = scsi + "ata3/host2/target2:0:0/2:0:0:0/"
	sas   = "pci0000:00/0000:00:05.0/host7/target7:0:1/7:0:1:3/"
	vscsi = "pci0000:00/0000:00:06.0/virtio3/host3/target3:0:2/3:0:2:0/"
	usb   = "pci0000:00/0000:00:14.0/usb1/1-2/1-2.1/1-2.1:1.0/host9/target9:0:0/9:0:0:0/"
	pad   = "                                                            "
)

func TestLinks(t *testing.T) {
	ata := designator(1, ("ATA     " + "QEMU HARDDISK" + pad)[:48]+(pad + "QM00005")[len(pad)+7-20:])
	sys := tree(t, map[string]string{
		"pci0000:00/0000:00:04.0/virtio1/block/vda/size":            "100\n",
		"pci0000:00/0000:00:04.0/virtio1/block/vda/serial":          "my disk/1",
		"pci0000:00/0000:00:04.0/virtio1/block/vda/vda2/size":       "50\n",
		"pci0000:00/0000:00:04.0/virtio1/block/vda/vda2/partition":  "2\n",
		"pci0000:00/0000:00:04.0/virtio1/block/vda/vda2/uevent":     "MAJOR=254\nPARTN=2\nPARTNAME=EFI System\nPARTUUID=0AF1-02\n",
		"pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0/model":     "Samsung SSD 990   \n",
		"pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0/serial":    "S1\n",
		"pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0/n1/size":   "100\n", // named below
		sata + "block/sda/size":                                     "100\n",
		sata + "model":                                              "QEMU HARDDISK\n",
		sata + "vpd_pg83":                                           page83(ata, designator(3, "\x50\x00\xc5\x00\x12\x34\x56\x78"), designator(0x13, "port")),
		scsi + "ata3/ata_port/ata3/port_no":                         "1\n",
		sas + "block/sdb/size":                                      "100\n",
		sas + "model":                                               "DISK\n",
		sas + "vpd_pg83":                                            page83(designator(2, "\x01\x02\x03\x04\x05\x06\x07\x08"), designator(1, "ACME    X")),
		"pci0000:00/0000:00:05.0/host5/x":                           "",
		vscsi + "block/sdd/size":                                    "100\n",
		vscsi + "model":                                             "QEMU\n",
		usb + "block/sdc/size":                                      "100\n",
		usb + "vendor":                                              "Stick\n",
		usb + "model":                                               "Ultra  Fit\n",
		"pci0000:00/0000:00:14.0/usb1/1-2/1-2.1/idVendor":           "0781\n",
		"pci0000:00/0000:00:14.0/usb1/1-2/1-2.1/serial":             "4C53\n",
		"platform/soc@0/mmc_host/mmc0/mmc0:0001/block/mmcblk0/size": "100\n",
		"platform/soc@0/mmc_host/mmc0/mmc0:0001/name":               "SD16G\n",
		"platform/soc@0/mmc_host/mmc0/mmc0:0001/serial":             "0xabc\n",
		"virtual/block/dm-0/size":                                   "100\n",
		"virtual/block/dm-0/dm/name":                                "vg-root\n",
		"virtual/block/dm-0/dm/uuid":                                "LVM-x\n",
		"virtual/block/ram0/size":                                   "100\n",
		"virtual/block/loop0/size":                                  "0\n",
	})
	deviceLink := func(disk, target string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(sys, "class/block", disk, "device")); err != nil {
			t.Fatal(err)
		}
	}
	nvme := filepath.Join(sys, "devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0")
	if err := os.Rename(nvme+"/n1", nvme+"/nvme0n1"); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(sys, "class/block/n1"))
	if err := os.Symlink(nvme+"/nvme0n1", filepath.Join(sys, "class/block/nvme0n1")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"wwid": "eui.0025388b71b0f1d2\n", "nsid": "1\n"} {
		if err := os.WriteFile(filepath.Join(nvme, "nvme0n1", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	deviceLink("nvme0n1", nvme)
	for _, disk := range []string{"sda", "sdb", "sdc", "sdd", "mmcblk0"} {
		deviceLink(disk, "../..")
	}

	tests := map[string][]string{
		"vda":     {"by-id/virtio-my_disk_1", "by-path/pci-0000:00:04.0", "by-path/virtio-pci-0000:00:04.0"},
		"vda2":    {"by-id/virtio-my_disk_1-part2", "by-partuuid/0af1-02", "by-partlabel/EFI_System", "by-path/pci-0000:00:04.0-part2", "by-path/virtio-pci-0000:00:04.0-part2"},
		"nvme0n1": {"by-id/nvme-eui.0025388b71b0f1d2", "by-id/nvme-Samsung_SSD_990_S1", "by-id/nvme-Samsung_SSD_990_S1_1", "by-path/pci-0000:02:00.0-nvme-1"},
		"sda":     {"by-id/ata-QEMU_HARDDISK_QM00005", "by-id/wwn-0x5000c50012345678", "by-id/scsi-35000c50012345678", "by-path/pci-0000:00:1f.2-ata-1", "by-path/pci-0000:00:1f.2-ata-1.0"},
		"sdb":     {"by-id/scsi-20102030405060708", "by-id/scsi-1ACME_X", "by-path/pci-0000:00:05.0-scsi-2:0:1:3"},
		"sdc":     {"by-id/usb-Stick_Ultra_Fit_4C53-0:0", "by-path/pci-0000:00:14.0-usb-0:2.1:1.0-scsi-0:0:0:0"},
		"sdd":     {"by-path/pci-0000:00:06.0-scsi-0:0:2:0"},
		"mmcblk0": {"by-id/mmc-SD16G_0xabc"},
		"dm-0":    {"by-id/dm-name-vg-root", "by-id/dm-uuid-LVM-x"},
		"ram0":    nil,
		"loop0":   nil,
	}
	k := &Keeper{Sys: sys, Dev: t.TempDir()}
	k.Scan()
	for name, want := range tests {
		for i := range want {
			want[i] = "disk/" + want[i]
		}
		if got := k.Links(name); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
		for _, link := range want {
			if target, err := os.Readlink(filepath.Join(k.Dev, link)); err != nil || target != "../../"+name {
				t.Errorf("%s -> %q, %v", link, target, err)
			}
		}
	}
	for name := range tests {
		k.Remove(name)
	}
	_ = filepath.WalkDir(k.Dev, func(path string, e os.DirEntry, _ error) error {
		if !e.IsDir() {
			t.Errorf("%s is left", path)
		}
		return nil
	})
}

// TestSharedName has two paths to one disk: the first keeps the name, and when it goes the name is free.
func TestSharedName(t *testing.T) {
	sys := tree(t, map[string]string{
		"pci0000:00/a/virtio1/block/vda/size": "0", "pci0000:00/a/virtio1/block/vda/serial": "same",
		"pci0000:00/b/virtio2/block/vdb/size": "0", "pci0000:00/b/virtio2/block/vdb/serial": "same",
	})
	dev := t.TempDir()
	k := &Keeper{Sys: sys, Dev: dev}
	owner := func() string {
		target, _ := os.Readlink(filepath.Join(dev, "disk/by-id/virtio-same"))
		return target
	}
	for _, name := range []string{"vda", "vdb"} {
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		k.Add(name)
	}
	if owner() != "../../vda" {
		t.Errorf("owner %q", owner())
	}
	k.Remove("vdb")
	if owner() != "../../vda" {
		t.Errorf("owner %q after the other went", owner())
	}
	if err := os.Remove(filepath.Join(dev, "vda")); err != nil {
		t.Fatal(err)
	}
	k.Add("vdb")
	if owner() != "../../vdb" {
		t.Errorf("owner %q after the first went", owner())
	}
	if err := os.WriteFile(filepath.Join(sys, "class/block/vdb/serial"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	k.Add("vdb")
	if owner() != "" {
		t.Errorf("owner %q after a change", owner())
	}
	k.Add("../../etc")
}

func TestProbe(t *testing.T) {
	tests := []struct {
		tool        string
		args        []string
		uuid, label string
	}{
		{"mkfs.ext4", []string{"-q", "-F", "-U", "5e3f1c3a-0000-4000-8000-000000000001", "-L", "my root"}, "5e3f1c3a-0000-4000-8000-000000000001", "my root"},
		{"mkswap", []string{"-U", "5e3f1c3a-0000-4000-8000-000000000002", "-L", "swap1"}, "5e3f1c3a-0000-4000-8000-000000000002", "swap1"},
		{"mkfs.vfat", []string{"-F", "32", "-i", "ABCD1234", "-n", "ESP"}, "ABCD-1234", "ESP"},
		{"mkfs.xfs", []string{"-q", "-f", "-m", "uuid=5e3f1c3a-0000-4000-8000-000000000003", "-L", "data"}, "5e3f1c3a-0000-4000-8000-000000000003", "data"},
		{"mkfs.btrfs", []string{"-q", "-f", "-U", "5e3f1c3a-0000-4000-8000-000000000004", "-L", "b"}, "5e3f1c3a-0000-4000-8000-000000000004", "b"},
	}
	for _, test := range tests {
		t.Run(test.tool, func(t *testing.T) {
			tool, err := exec.LookPath(test.tool)
			if err != nil {
				t.Skip(err)
			}
			file := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, 400<<20); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(tool, append(test.args, file)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want := []string{"disk/by-uuid/" + test.uuid, "disk/by-label/" + strings.ReplaceAll(test.label, " ", "_")}
			if got := contents(file); !slices.Equal(got, want) {
				t.Errorf("links %q, want %q", got, want)
			}
		})
	}
}

func TestProbeMadeUp(t *testing.T) {
	put := func(at int, text string) []byte {
		head := make([]byte, superblocks)
		copy(head[at:], text)
		return head
	}
	fat := put(0x36, "FAT16   ")
	copy(fat[0x27:], "\x34\x12\xcd\xabNO NAME    ")
	iso := put(0x8001, "CD001")
	copy(iso[0x8028:], "HOOK ISO                        ")
	tests := []struct {
		name, uuid, label string
		head              []byte
	}{
		{"fat16", "ABCD-1234", "", fat}, {"iso", "", "HOOK ISO", iso}, {"zeros", "", "", make([]byte, superblocks)}, {"empty", "", "", nil},
		{"ext without a uuid", "", "", put(0x438, "\x53\xef")},
	}
	for _, test := range tests {
		if uuid, label := probe(test.head); uuid != test.uuid || label != test.label {
			t.Errorf("%s: %q %q", test.name, uuid, label)
		}
	}
}

func FuzzProbe(f *testing.F) {
	f.Add([]byte("XFSB"))
	f.Fuzz(func(t *testing.T, head []byte) {
		_, label := probe(head)
		if link := clean(label); strings.ContainsAny(link, "/\x00") || link == "." || link == ".." {
			t.Errorf("label %q", link)
		}
	})
}

func FuzzDesignators(f *testing.F) {
	f.Add([]byte(page83(designator(1, "ATA     x"), designator(3, "12345678"))))
	f.Add([]byte{0, 0x83, 0, 200, 1, 1, 0, 255})
	f.Fuzz(func(t *testing.T, page []byte) {
		for _, id := range designators(page) {
			if strings.ContainsAny(id, "/\x00 ") || id == "" {
				t.Errorf("id %q", id)
			}
		}
	})
}
