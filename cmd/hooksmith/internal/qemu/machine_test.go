package qemu

import (
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func machine() Machine {
	return Machine{Arch: AMD64, Accel: "tcg", MemoryMiB: 512, CPUs: 1, Kernel: "k", Initrd: "i", Netdev: "user"}
}

func TestArgv(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Machine)
		want   string // a run of words in the line
	}{
		{"plain", func(*Machine) {}, "qemu-system-x86_64 -accel tcg -machine q35 -m 512 -smp 1 -device virtio-rng-pci -kernel k -initrd i -append console=ttyS0 no_timer_check -netdev user,id=net0 -device virtio-net-pci,netdev=net0,romfile= -display none -serial mon:stdio"},
		{"kvm", func(m *Machine) { m.Accel = "kvm" }, "-accel kvm -machine q35 -cpu host"},
		{"kvm timer", func(m *Machine) { m.Accel = "kvm" }, "-append console=ttyS0 -netdev"},
		{"arm64", func(m *Machine) { m.Arch = ARM64 }, "qemu-system-aarch64 -accel tcg -machine virt -cpu cortex-a57"},
		{"arm64 console", func(m *Machine) { m.Arch = ARM64 }, "-append console=ttyAMA0 -netdev"},
		{"arm64 kvm", func(m *Machine) { m.Arch, m.Accel = ARM64, "kvm" }, "-machine virt -cpu host"},
		{"append", func(m *Machine) { m.Append = []string{"a=1", "b"} }, "console=ttyS0 no_timer_check a=1 b"},
		{"no network", func(m *Machine) { m.Netdev = "none" }, "-nic none -display none -serial mon:stdio"},
		{"tap", func(m *Machine) { m.Netdev = "tap,ifname=t0,script=no" }, "-netdev tap,ifname=t0,script=no,id=net0"},
		{"ssh", func(m *Machine) { m.SSHPort = 2222 }, "user,id=net0,hostfwd=tcp:127.0.0.1:2222-:22"},
		{"mac", func(m *Machine) { m.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xab} }, "romfile=,mac=02:00:00:00:00:ab"},
		{"disk", func(m *Machine) { m.Disk = "/tmp/a,b.qcow2" }, "-drive if=virtio,format=qcow2,file=/tmp/a,,b.qcow2"},
		{"uefi", func(m *Machine) { m.Firmware = Firmware{"/c.fd", "/v.fd"} }, "-drive if=pflash,format=raw,readonly=on,file=/c.fd -drive if=pflash,format=raw,snapshot=on,file=/v.fd"},
		{"extra", func(m *Machine) { m.Extra = []string{"-no-reboot"} }, "-display none -serial mon:stdio -no-reboot"},
	} {
		m := machine()
		tt.change(&m)
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := strings.Join(m.Argv(), " "); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q lacks %q", tt.name, got, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		change func(*Machine)
		want   string
	}{
		{func(m *Machine) { m.Arch = "" }, `architecture ""`},
		{func(m *Machine) { m.Accel = "hvf" }, `accelerator "hvf"`},
		{func(m *Machine) { m.MemoryMiB = 4 }, "4 MiB"},
		{func(m *Machine) { m.CPUs = 256 }, "256 CPUs"},
		{func(m *Machine) { m.SSHPort = 65536 }, "port 65536"},
		{func(m *Machine) { m.SSHPort, m.Netdev = 22, "userx" }, "user network"},
		{func(m *Machine) { m.Append = []string{"a\nb"} }, "line break"},
		{func(m *Machine) { m.MAC = make(net.HardwareAddr, 8) }, "six bytes"},
	} {
		m := machine()
		tt.change(&m)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// The shell itself is the judge of the quoting.
func TestQuote(t *testing.T) {
	words := []string{"plain", "", "two words", "it's", `back\slash "quoted"`, "$HOME `id` *", "a\nb", "a=b,c:d/e", "~", "#x", "user,id=n0"}
	out, err := exec.Command("sh", "-c", `for w in `+Quote(words)+`; do printf '%s\0' "$w"; done`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, words) {
		t.Errorf("the shell reads %q, want %q", got, words)
	}
	if got, want := Quote([]string{"qemu", "-m", "512", "a b"}), "qemu -m 512 'a b'"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFlavorArch(t *testing.T) {
	for id, want := range map[string]Arch{
		"hook-debian-amd64": AMD64, "hook-debian-cloud-amd64": AMD64, "hook-default-arm64": ARM64, "latest-lts-x86_64": AMD64,
		"mine-aarch64": ARM64, "amd64": "", "-amd64": "", "hook-debian": "", "": "", "hook-": "",
	} {
		if got, ok := FlavorArch(id); ok != (want != "") || (ok && got != want) {
			t.Errorf("%q: %q, %v, want %q", id, got, ok, want)
		}
	}
}

func TestFindFirmware(t *testing.T) {
	file := &fstest.MapFile{Data: []byte("fd")}
	root := fstest.MapFS{
		"usr/share/OVMF/OVMF_CODE_4M.fd": file, // without its variables
		"usr/share/OVMF/OVMF_CODE.fd":    file, "usr/share/OVMF/OVMF_VARS.fd": file,
	}
	want := Firmware{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"}
	if got, err := FindFirmware(root, AMD64); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := FindFirmware(root, ARM64); err == nil || !strings.Contains(err.Error(), "AAVMF") {
		t.Errorf("arm64: %v", err)
	}
}

func TestKernelArgs(t *testing.T) {
	for _, tt := range []struct {
		worker Worker
		want   string
	}{
		{Worker{}, ""},
		{Worker{TinkServer: "10.0.2.2"}, "grpc_authority=10.0.2.2:42113 tinkerbell_tls=false"},
		{Worker{TinkServer: "tink:443", TinkTLS: true}, "grpc_authority=tink:443 tinkerbell_tls=true"},
		{Worker{TinkServer: "fd00::1"}, "grpc_authority=[fd00::1]:42113 tinkerbell_tls=false"},
		{Worker{TinkServer: "[fd00::1]"}, "grpc_authority=[fd00::1]:42113 tinkerbell_tls=false"},
		{Worker{TinkServer: "[fd00::1]:1"}, "grpc_authority=[fd00::1]:1 tinkerbell_tls=false"},
		{
			Worker{Image: "r/i:t", ID: "w1", DockerRegistry: "r", InsecureRegistries: []string{"a", "b:5000"}},
			"tink_worker_image=r/i:t worker_id=w1 docker_registry=r insecure_registries=a,b:5000",
		},
	} {
		got, err := tt.worker.KernelArgs()
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: %q, %v, want %q", tt.worker, got, err, tt.want)
		}
	}
	for _, w := range []Worker{{TinkServer: "a:b:c"}, {TinkServer: "a:0"}, {TinkServer: ":1"}, {TinkServer: "a:port"}, {ID: "two words"}, {Image: "a\nb"}, {ID: `"`}} {
		if got, err := w.KernelArgs(); err == nil {
			t.Errorf("%+v: %q, want an error", w, got)
		}
	}
}
