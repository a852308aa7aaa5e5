package boottest

import (
	"fmt"
	"hooksmith/cmd/hooksmith/internal/qemu"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// artifacts is the machine that boots what HOOKSMITH_BOOT names; tests change
// it before they boot it.
func artifacts(t *testing.T) qemu.Machine {
	t.Helper()
	name, dir := os.Getenv("HOOKSMITH_BOOT"), os.Getenv("HOOKSMITH_BOOT_DIR")
	if name == "" {
		t.Skip("HOOKSMITH_BOOT is not set: run make boot-test")
	}
	arch, err := qemu.ParseArch(name)
	if err != nil {
		t.Fatalf("HOOKSMITH_BOOT: %v", err)
	}
	m := qemu.Machine{
		Arch: arch, Accel: "tcg", MemoryMiB: 2048, CPUs: 1, Netdev: "user",
		Kernel: filepath.Join(dir, "vmlinuz-"+arch.Uname()), Initrd: filepath.Join(dir, "initramfs-"+arch.Uname()),
		Append: []string{"panic=-1"}, // with -no-reboot a panic ends QEMU, and so the test
		Extra:  []string{"-no-reboot"},
	}
	for _, path := range []string{m.Kernel, m.Initrd} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("nothing to boot: %v", err)
		}
	}
	return m
}

// onlyChild is the process id of the one child that a process has.
func onlyChild(t *testing.T, pid int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, path := range tasks {
		b, _ := os.ReadFile(path) // a thread may have ended
		children = append(children, strings.Fields(string(b))...)
	}
	if len(children) != 1 {
		t.Fatalf("children of %d: %q, want one", pid, children)
	}
	child, err := strconv.Atoi(children[0])
	if err != nil {
		t.Fatal(err)
	}
	return child
}
