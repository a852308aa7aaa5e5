package kernel

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// The tests here hold configs/modules.yaml and configs/flavors.yaml against
// Debian's kernels and firmware.

func shippedPolicy(t testing.TB) *Policy {
	t.Helper()
	b, err := os.ReadFile("../configs/modules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePolicy("configs/modules.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shippedFlavor is what these tests need of a flavor; build has the loader.
type shippedFlavor struct {
	ID, Arch, Template, Description, Unavailable string
	OutputID                                     string `yaml:"output_id"`
	Kernel                                       map[string]string
	Modules, Firmware, Tags                      []string
	DefaultFor                                   []string `yaml:"default_for"`
}

func shippedFlavors(t testing.TB) map[string]shippedFlavor {
	t.Helper()
	b, err := os.ReadFile("../configs/flavors.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Flavors []shippedFlavor }
	if err := yaml.UnmarshalWithOptions(b, &file); err != nil {
		t.Fatal(err)
	}
	flavors := map[string]shippedFlavor{}
	for _, f := range file.Flavors {
		if _, doubled := flavors[f.ID]; doubled {
			t.Errorf("flavor %s stands twice", f.ID)
		}
		flavors[f.ID] = f
	}
	return flavors
}

func TestFlavors(t *testing.T) {
	flavors, policy := shippedFlavors(t), shippedPolicy(t)
	for _, id := range []string{
		"hook-debian-amd64", "hook-debian-arm64", "hook-debian-cloud-amd64",
		"hook-default-amd64", "hook-default-arm64", "hook-latest-lts-amd64", "hook-latest-lts-arm64", "peg-default-amd64",
		"armbian-meson64-edge", "armbian-bcm2711-current", "armbian-rockchip64-edge", "armbian-rk35xx-vendor", "armbian-genio-edge",
		"armbian-uefi-arm64-edge", "armbian-uefi-x86-edge",
	} {
		if _, ok := flavors[id]; !ok {
			t.Errorf("flavor %s is not there", id)
		}
	}
	outputs := map[string]string{}
	for id, f := range flavors {
		if other, taken := outputs[f.OutputID]; taken || f.OutputID == "" {
			t.Errorf("%s: output id %q is that of %q", id, f.OutputID, other)
		}
		outputs[f.OutputID] = id
		if f.Description == "" || f.Template == "" || len(f.Tags) == 0 || len(f.Kernel) == 0 {
			t.Errorf("%s: incomplete", id)
		}
		if (f.Kernel["debian"] != "") != (len(f.Modules) > 0) {
			t.Errorf("%s: modules are chosen from Debian's kernels, and only from those", id)
		}
		if (f.Kernel["armbian"] != "") != (f.Unavailable != "") {
			t.Errorf("%s: Armbian's kernels cannot be had yet, all others can", id)
		}
		if _, err := policy.groups(f.Modules, Arch(f.Arch)); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		for _, name := range f.Firmware {
			if _, ok := policy.FirmwareSet(name); !ok {
				t.Errorf("%s: unknown firmware %s", id, name)
			}
		}
	}
	for id, host := range map[string]string{"hook-debian-amd64": "amd64", "hook-debian-arm64": "arm64"} {
		if !slices.Equal(flavors[id].DefaultFor, []string{host}) {
			t.Errorf("%s: default for %v", id, flavors[id].DefaultFor)
		}
	}
}

// flavorKernels are the flavors that can be built.
var flavorKernels = map[string]realKernel{
	"hook-debian-amd64":       metalAMD64,
	"hook-debian-arm64":       metalARM64,
	"hook-debian-cloud-amd64": cloudAMD64,
}

func shippedSelection(t testing.TB, flavor string) *Selection {
	t.Helper()
	f, k := shippedFlavors(t)[flavor], flavorKernels[flavor]
	if f.Kernel["debian"] != k.name || f.Arch != string(k.arch) {
		t.Fatalf("%s: kernel %v, architecture %s", flavor, f.Kernel, f.Arch)
	}
	s, err := shippedPolicy(t).Select(k.index(t), Request{Groups: f.Modules})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSelectionSizes keeps the initramfs within its limits, and every pattern
// of the policy alive.
func TestSelectionSizes(t *testing.T) {
	for flavor, maxMB := range map[string]int64{"hook-debian-amd64": 36, "hook-debian-arm64": 36, "hook-debian-cloud-amd64": 14} {
		s := shippedSelection(t, flavor)
		for _, w := range s.Warnings {
			t.Errorf("%s: %s", flavor, w)
		}
		t.Logf("%s: %d of %d modules, %d of %d bytes", flavor, len(s.Modules), len(s.Index.Modules), s.Bytes(), allBytes(s.Index))
		if s.Bytes() > maxMB*1_000_000 {
			t.Errorf("%s: %d bytes of modules, more than %d MB", flavor, s.Bytes(), maxMB)
		}
	}
}

func allBytes(x *Index) (n int64) {
	for _, m := range x.Modules {
		n += m.Size
	}
	return n
}

// wanted are the drivers that users asked for (shared issues of Hook, EKS
// Anywhere and Tinkerbell), and those that HookOS itself cannot do without.
var wanted = map[string]string{
	"hook-debian-amd64": `igc ixgbe ixgbevf i40e iavf ice mlx4_en mlx5_core be2net hpilo ionic mpi3mr qede qed enic fnic snic
		bnxt_en bnx2 bnx2x tg3 e1000 e1000e igb igbvf r8169 realtek atlantic sfc cxgb4 nfp alx atl1c sky2 forcedeth jme
		r8152 asix ax88179_178a cdc_ether cdc_ncm rndis_host
		megaraid_sas megaraid_mbox mpt3sas smartpqi hpsa aacraid arcmsr pm80xx mvsas isci 3w_sas lpfc qla2xxx bfa qedf qedi be2iscsi mptsas mptspi
		ahci ata_piix ata_generic sd_mod sr_mod sg ses nvme nvme_tcp vmd md_mod raid0 raid1 raid10 raid456 dm_mod dm_crypt dm_thin_pool dm_raid
		dm_multipath scsi_dh_alua usb_storage uas xhci_pci ehci_pci ohci_pci usbhid hid_generic evdev button
		ipmi_si ipmi_devintf ipmi_ssif acpi_ipmi bonding 8021q bridge br_netfilter veth overlay loop squashfs xfs btrfs ext4 vfat
		nls_cp437 nls_ascii isofs nf_tables nft_compat nft_chain_nat xt_MASQUERADE xt_conntrack xt_addrtype nf_conntrack_netlink
		iptable_nat crc32c_generic crc32c_intel libcrc32c virtio_net virtio_blk virtio_rng virtio_scsi hv_netvsc hv_storvsc vmxnet3 vmw_pvscsi
		xen_netfront xen_blkfront ena gve mana iTCO_wdt hpwdt sp5100_tco efivarfs tpm_tis_spi tun wireguard iscsi_tcp iscsi_ibft nfsv4 cifs mmc_block sdhci_pci
		ib_ipoib ib_iser mlx5_ib netconsole zram`,
	"hook-debian-arm64": `igc ixgbe i40e ice mlx5_core be2net ionic mpi3mr qede enic bnxt_en bnx2x tg3 e1000e igb r8169 megaraid_sas mpt3sas
		smartpqi hns3 hclge hisi_sas_v3_hw thunder_xcv nicvf macb mvneta mvpp2 stmmac dwmac_rk fec genet
		ahci nvme raid1 dm_crypt usb_storage xhci_pci usbhid ipmi_si ipmi_ssif bonding 8021q bridge veth overlay loop virtio_net virtio_blk virtio_rng
		virtio_mmio crc32c_generic meson_gx_mmc sdhci_iproc dw_mmc_rockchip sdhci_of_dwcmshc phy_rockchip_pcie gpio_keys sbsa_gwdt ena gve`,
	"hook-debian-cloud-amd64": `ena gve mana mlx5_core mlx4_en ixgbevf ionic virtio_net virtio_blk virtio_rng virtio_scsi hv_netvsc hv_storvsc vmxnet3
		vmw_pvscsi xen_netfront xen_blkfront ahci sd_mod nvme overlay squashfs loop bonding 8021q bridge veth nf_tables nft_compat xt_MASQUERADE
		xfs btrfs vfat dm_crypt raid1 tun button`,
}

func TestWantedDrivers(t *testing.T) {
	for flavor, list := range wanted {
		s := shippedSelection(t, flavor)
		n := newNames(s.Index)
		for name := range strings.FieldsSeq(list) {
			if _, ok := s.Lookup(name); !ok && !n.builtin[normalName(name)] {
				t.Errorf("%s: %s is not in", flavor, name)
			}
		}
	}
}

// TestUnwanted: what no group selects comes only with what depends on it.
func TestUnwanted(t *testing.T) {
	p := shippedPolicy(t)
	for flavor := range flavorKernels {
		s := shippedSelection(t, flavor)
		for _, m := range s.Modules {
			if !p.never(newTarget(m.Path, m.Name)) {
				continue
			}
			if !strings.HasPrefix(m.Why, "needed by ") && !strings.HasPrefix(m.Why, "softdep of ") {
				t.Errorf("%s: %s: %s", flavor, m.Path, m.Why)
			}
			t.Logf("%s: %s: %s", flavor, m.Path, m.Why)
		}
		for _, m := range s.Modules {
			for _, dir := range []string{"kernel/sound/", "kernel/drivers/media/", "kernel/drivers/net/wireless/", "kernel/drivers/staging/", "kernel/drivers/bluetooth/"} {
				if strings.HasPrefix(m.Path, dir) {
					t.Errorf("%s: %s: %s", flavor, m.Path, m.Why)
				}
			}
		}
	}
	for _, r := range p.Never { // a rule that matches nothing has rotted
		for _, pattern := range r.Modules {
			if !slices.ContainsFunc(metalAMD64.index(t).Modules, func(m Module) bool { return pattern.match(newTarget(m.Path, m.Name)) }) &&
				!slices.ContainsFunc(metalARM64.index(t).Modules, func(m Module) bool { return pattern.match(newTarget(m.Path, m.Name)) }) {
				t.Errorf("never: %s matches nothing", pattern)
			}
		}
	}
}

// TestAgainstDepmod compares the generated files with those that Debian's
// depmod makes of the same modules.
func TestAgainstDepmod(t *testing.T) {
	depmod, err := exec.LookPath("depmod")
	if err != nil {
		if depmod, err = exec.LookPath("/usr/sbin/depmod"); err != nil {
			t.Skip("no depmod here (package kmod)")
		}
	}
	for _, flavor := range []string{"hook-debian-amd64", "hook-debian-cloud-amd64"} {
		t.Run(flavor, func(t *testing.T) {
			s := shippedSelection(t, flavor)
			root := t.TempDir()
			modules := filepath.Join(root, "lib/modules", s.Index.Release)
			copyModules(t, s, flavorKernels[flavor], modules)
			if out, err := exec.Command(depmod, "-b", root, s.Index.Release).CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("depmod: %v\n%s", err, out)
			}
			files, err := s.Files()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if f.Path == "modules.builtin.alias" || f.Path == "modules.builtin" || f.Path == "modules.order" {
					continue // depmod reads these
				}
				want, err := os.ReadFile(filepath.Join(modules, f.Path))
				if err != nil {
					t.Fatal(err)
				}
				compareLines(t, f.Path, f.Data, want)
			}
			checkDepOrder(t, files)
		})
	}
}

func copyModules(t *testing.T, s *Selection, k realKernel, dir string) {
	t.Helper()
	from, _ := k.modulesDir(t)
	names := []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"}
	for _, m := range s.Modules {
		names = append(names, m.Path)
	}
	for _, name := range names {
		b, err := fs.ReadFile(from, name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// compareLines compares two files as sets of lines; of modules.dep also the
// modules on each line as a set: depmod sorts them by symbols, we by depends=,
// and both orders can be loaded (checkDepOrder).
func compareLines(t *testing.T, name string, got, want []byte) {
	t.Helper()
	set := func(b []byte) []string {
		var list []string
		for line := range strings.Lines(string(b)) {
			module, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
			if name == "modules.dep" && ok {
				words := strings.Fields(needs)
				slices.Sort(words)
				line = module + ": " + strings.Join(words, " ") + "\n"
			}
			list = append(list, line)
		}
		if name == "modules.dep" && len(list) > 0 {
			return list // in depmod's order of modules too
		}
		slices.Sort(list)
		return list
	}
	g, w := set(got), set(want)
	t.Logf("%s: %d lines, %d of depmod's; same bytes: %v", name, len(g), len(w), bytes.Equal(got, want))
	if slices.Equal(g, w) {
		return
	}
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: first difference in line %d:\nours   %q\ndepmod %q", name, i+1, lineAt(g, i), lineAt(w, i))
		}
	}
}

func lineAt(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// checkDepOrder loads every module from right to left: whatever a module needs
// must then be there.
func checkDepOrder(t *testing.T, files []File) {
	t.Helper()
	needs := map[string][]string{}
	i := slices.IndexFunc(files, func(f File) bool { return f.Path == "modules.dep" })
	for line := range strings.Lines(string(files[i].Data)) {
		module, list, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[module] = strings.Fields(list)
	}
	for module, list := range needs {
		loaded := map[string]bool{}
		for _, m := range slices.Backward(list) {
			for _, need := range needs[m] {
				if !loaded[need] {
					t.Fatalf("%s: %s comes before %s, which it needs", module, m, need)
				}
			}
			loaded[m] = true
		}
	}
}

// TestFirmwarePackages looks every set of the policy up in Debian's package.
func TestFirmwarePackages(t *testing.T) {
	for _, set := range shippedPolicy(t).Firmware {
		component := "non-free-firmware"
		if set.Package == "firmware-linux-free" {
			component = "main"
		}
		tree, err := fs.Sub(debianTree(t, "amd64", component, set.Package), "usr/lib/firmware")
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		err = fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, pattern := range set.Files {
			one := FirmwareSet{Files: []string{pattern}}
			if !slices.ContainsFunc(files, one.Has) {
				t.Errorf("firmware %s: %s has no file %s", set.Name, set.Package, pattern)
			}
		}
	}
}

// TestFirmwareOfUsers: with the package of a set, the driver misses nothing.
func TestFirmwareOfUsers(t *testing.T) {
	p, s := shippedPolicy(t), shippedSelection(t, "hook-debian-amd64")
	for module, names := range map[string][]string{
		"bnx2": {"bnx2"}, "bnx2x": {"bnx2x"}, "tg3": {"tg3"}, "ice": {"ice"}, "cxgb3": {"cxgb3"}, "cxgb4": {"cxgb4"}, "myri10ge": {"myri10ge"},
		"r8169": {"r8169"}, "e100": {"e100"}, "isci": {"isci"}, "advansys": {"advansys"}, "liquidio": {"liquidio"}, "bna": {"bna"},
	} {
		set, ok := p.FirmwareSet(names[0])
		if !ok {
			t.Errorf("no firmware %s", names[0])
			continue
		}
		component := "non-free-firmware"
		if set.Package == "firmware-linux-free" {
			component = "main"
		}
		tree := debianTree(t, "amd64", component, set.Package)
		isModule := func(m ModuleFirmware) bool { return m.Module == module }
		if !slices.ContainsFunc(s.Firmware(), isModule) {
			t.Errorf("%s asks for no firmware", module)
		}
		missing := s.FirmwareMissing(tree)
		if i := slices.IndexFunc(missing, isModule); i >= 0 {
			t.Logf("%s: %s lacks %v", module, set.Package, missing[i].Files)
			for _, file := range missing[i].Files {
				if p.FirmwareFor(file, X86_64) == nil {
					t.Errorf("%s: %s belongs to no set", module, file)
				}
			}
		}
	}
	var unknown []string
	for _, m := range s.Firmware() {
		for _, file := range m.Files {
			if p.FirmwareFor(file, X86_64) == nil {
				unknown = append(unknown, m.Module+" "+file)
			}
		}
	}
	t.Logf("firmware that no package has: %q", unknown)
}

func BenchmarkSelect(b *testing.B) {
	p, x := shippedPolicy(b), metalAMD64.index(b)
	for b.Loop() {
		s, err := p.Select(x, Request{Groups: []string{AllGroups}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Files(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeIndex(b *testing.B) {
	var buf bytes.Buffer
	if err := metalAMD64.index(b).Encode(&buf); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		if _, err := DecodeIndex(bytes.NewReader(buf.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
