package build

import (
	"strings"
	"testing"

	"hooksmith/configs"
)

func TestBuiltInFlavors(t *testing.T) {
	all, err := LoadFlavors(configs.FS)
	if err != nil {
		t.Fatal(err)
	}
	// hookos.md 3.2, and ours.
	for _, id := range []string{
		"hook-default-amd64", "hook-default-arm64", "hook-latest-lts-amd64", "hook-latest-lts-arm64", "peg-default-amd64",
		"armbian-meson64-edge", "armbian-bcm2711-current", "armbian-rockchip64-edge", "armbian-rk35xx-vendor", "armbian-genio-edge",
		"armbian-uefi-arm64-edge", "armbian-uefi-x86-edge",
		"hook-debian-amd64", "hook-debian-arm64", "hook-debian-cloud-amd64", "hook-generic-amd64", "hook-generic-arm64", "hook-vm-amd64",
	} {
		f, err := all.Buildable(id)
		if err != nil {
			t.Error(err)
			continue
		}
		if f.Unavailable == "" && f.Kernel.Debian == "" && f.Kernel.Version == "" {
			t.Errorf("%s has no kernel that we can get, and does not say so", id)
		}
	}
	for arch, want := range map[string]string{"amd64": "hook-debian-amd64", "arm64": "hook-debian-arm64"} {
		if f, err := all.Default(arch); err != nil || f.ID != want {
			t.Errorf("default on %s: %q, %v", arch, f.ID, err)
		}
	}
	if _, err := all.Default("mips"); err == nil {
		t.Error("mips has a default")
	}
}

func TestOverride(t *testing.T) {
	tests := []struct {
		name, yaml, want string // want: part of the error, or "" for none
		check            func(t *testing.T, l *Flavors)
	}{
		{"adds", "flavors:\n- {id: mine, arch: x86_64, kernel: {debian: linux-image-amd64}, template: hook, output_id: mine}\n", "",
			func(t *testing.T, l *Flavors) {
				if _, err := l.Find("mine"); err != nil {
					t.Error(err)
				}
			}},
		{"overrides only what it names", "flavors:\n- {id: hook-debian-amd64, firmware: [bnx2]}\n", "",
			func(t *testing.T, l *Flavors) {
				f, _ := l.Find("hook-debian-amd64")
				if len(f.Firmware) != 1 || f.Kernel.Debian != "linux-image-amd64" || f.OutputID == "" {
					t.Errorf("%+v", f)
				}
			}},
		{"empty file", "", "", nil},
		{"unknown key", "flavors:\n- id: mine\n  kernle: {}\n", "hooksmith.yaml:3:3:", nil},
		{"unknown top key", "flavours: []\n", "hooksmith.yaml:1:1:", nil},
		{"wrong type", "flavors:\n- id: mine\n  tags: 3\n", "hooksmith.yaml:3:", nil},
		{"not YAML", "flavors: [", "hooksmith.yaml", nil},
		{"what the YAML library panics on", "flavors: !0 #", "hooksmith.yaml", nil},
		{"no arch", "flavors:\n- {id: mine}\n", `flavors[0] "mine": arch`, nil},
		{"output id with a slash", "flavors:\n- {id: hook-debian-amd64, output_id: ../x}\n", "output_id", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := LoadFlavors(configs.FS)
			if err != nil {
				t.Fatal(err)
			}
			err = l.Override("hooksmith.yaml", []byte(tt.yaml))
			if tt.want == "" && err != nil {
				t.Fatal(err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if tt.check != nil {
				tt.check(t, l)
			}
		})
	}
}
