package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// standIn puts a shell script in the place of this host's QEMU, and files to
// boot in a folder, which it returns.
func standIn(t *testing.T, script string) (dir string) {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	for _, uname := range []string{"x86_64", "aarch64"} {
		writeFile(t, filepath.Join(bin, "qemu-system-"+uname), "#!/bin/sh\n"+script, 0o755)
		writeFile(t, filepath.Join(dir, "vmlinuz-"+uname), "kernel", 0o644)
		writeFile(t, filepath.Join(dir, "initramfs-"+uname), "initramfs", 0o644)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return dir
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestQemuRuns(t *testing.T) {
	dir := standIn(t, `printf '%s\n' "$@"`)
	code, stdout, stderr := runHere(t.Context(), "qemu", "hook-debian-arm64", "--dir", dir, "--append", "a=1 b", "--", "-no-reboot")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	got := strings.Split(strings.TrimSpace(stdout), "\n")
	for _, want := range []string{filepath.Join(dir, "vmlinuz-aarch64"), "console=ttyAMA0 a=1 b"} {
		if !slices.Contains(got, want) {
			t.Errorf("arguments %q lack %q", got, want)
		}
	}
	if got[len(got)-1] != "-no-reboot" {
		t.Errorf("last argument is %q", got[len(got)-1])
	}
	if !strings.Contains(stderr, "arm64, 2048 MiB") || !strings.Contains(stderr, "To quit QEMU") {
		t.Errorf("stderr: %s", stderr)
	}
}

func TestQemuFails(t *testing.T) {
	dir := standIn(t, "echo 'qemu: no such device' >&2; exit 3")
	t.Run("exit status", func(t *testing.T) {
		code, _, stderr := runHere(t.Context(), "qemu", "--dir", dir)
		if code != exitFailure || !strings.Contains(stderr, "exit status 3") || !strings.Contains(stderr, "no such device") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	})
	t.Run("not installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		code, _, stderr := runHere(t.Context(), "qemu", "--dir", dir, "--arch", "arm64")
		want := "hooksmith: error: qemu-system-aarch64 is not installed\nhint: sudo apt-get install qemu-system-arm\n"
		if code != exitFailure || stderr != want {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	})
	t.Run("not built", func(t *testing.T) {
		code, _, stderr := runHere(t.Context(), "qemu", "--dir", "nowhere")
		if code != exitFailure || !strings.Contains(stderr, "hint: build it first: hooksmith build --out nowhere\n") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	})
}

// notice calls a function once its text has been written.
type notice struct {
	got  bytes.Buffer
	text string
	then func()
}

func (n *notice) Write(p []byte) (int, error) {
	k, err := n.got.Write(p)
	if n.then != nil && strings.Contains(n.got.String(), n.text) {
		n.then()
		n.then = nil
	}
	return k, err
}

// The end of the context terminates QEMU and gives exit code 130.
func TestQemuInterrupted(t *testing.T) {
	dir := standIn(t, "trap 'echo terminated; exit 0' TERM; echo up; while :; do sleep 0.1; done")
	ctx, cancel := context.WithCancel(t.Context())
	out := &notice{text: "up\n", then: cancel}
	var errs bytes.Buffer
	code := run(ctx, []string{"qemu", "--dir", dir}, strings.NewReader(""), out, &errs)
	if code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	if !strings.HasSuffix(out.got.String(), "terminated\n") {
		t.Errorf("QEMU said %q", out.got.String())
	}
	if !strings.HasSuffix(errs.String(), "hooksmith: interrupted\n") {
		t.Errorf("stderr: %s", errs.String())
	}
}

// SIGINT and SIGTERM end the process with 130, and QEMU before it.
func TestSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := standIn(t, "trap 'echo terminated; exit 0' TERM; echo up; while :; do sleep 0.1; done")
		c := startChild(t, hooksmith(t, "qemu", "--dir", dir))
		c.expect(t, "up")
		c.signal(t, sig)
		c.expect(t, "terminated")
		_ = c.cmd.Wait()
		if got := c.cmd.ProcessState.ExitCode(); got != exitInterrupted {
			t.Errorf("%v: exit code %d, want %d", sig, got, exitInterrupted)
		}
	}
}

// A second Ctrl-C kills the process even if what it waits for does not end.
func TestSecondSignal(t *testing.T) {
	dir := standIn(t, "trap 'echo stubborn' TERM; echo up; while :; do sleep 0.1; done")
	c := startChild(t, hooksmith(t, "qemu", "--dir", dir))
	c.expect(t, "up")
	c.signal(t, os.Interrupt)
	c.expect(t, "stubborn")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.cmd.Wait()
	}()
	for again := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-again.C:
			_ = c.cmd.Process.Signal(os.Interrupt)
			continue
		case <-ended:
		}
		break
	}
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("%v, want death by SIGINT, before the time is over that QEMU is given", c.cmd.ProcessState)
	}
}

// child is a process with its own group whose output is read line by line.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChild(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	// The group has our own children only; its leader may be gone already.
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return &child{cmd, bufio.NewScanner(stdout)}
}

func (c *child) expect(t *testing.T, line string) {
	t.Helper()
	if !c.lines.Scan() || c.lines.Text() != line {
		t.Fatalf("got %q (%v), want %q", c.lines.Text(), c.lines.Err(), line)
	}
}

func (c *child) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

const twoBuilds = `{"schema": 1, "builds": [
  {"flavor": "hook-debian-cloud-amd64", "arch": "x86_64", "ram_needed_mib": 700, "artifacts": [
    {"name": "initramfs-cloud-x86_64", "role": "initramfs", "aliases": ["initramfs-x86_64"]}, {"name": "vmlinuz-cloud-x86_64", "role": "kernel"}]},
  {"flavor": "mine", "arch": "aarch64", "ram_needed_mib": 900, "artifacts": [
    {"name": "initramfs-mine", "role": "initramfs"}, {"name": "vmlinuz-mine", "role": "kernel"}]}]}`

func TestFindTarget(t *testing.T) {
	with, without, broken := t.TempDir(), t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(with, "hook.json"), twoBuilds, 0o644)
	writeFile(t, filepath.Join(broken, "hook.json"), "{", 0o644)
	for _, tt := range []struct {
		dir, arch, flavor string
		want              target // files without their folder
		err               string
	}{
		{without, "amd64", "", target{"amd64", "vmlinuz-x86_64", "initramfs-x86_64", 0}, ""},
		{without, "", "some-arm64", target{"arm64", "vmlinuz-aarch64", "initramfs-aarch64", 0}, ""},
		{without, "", "mine", target{}, "add --arch"},
		{with, "x86_64", "", target{"amd64", "vmlinuz-x86_64", "initramfs-x86_64", 700}, ""},
		{with, "arm64", "", target{"arm64", "vmlinuz-aarch64", "initramfs-aarch64", 0}, ""},
		{with, "", "mine", target{"arm64", "vmlinuz-mine", "initramfs-mine", 900}, ""},
		{with, "aarch64", "mine", target{"arm64", "vmlinuz-mine", "initramfs-mine", 900}, ""},
		{with, "amd64", "mine", target{}, "mine is for arm64, not for amd64"},
		{with, "", "other-amd64", target{}, `no build of other-amd64, only of ["hook-debian-cloud-amd64" "mine"]`},
		{broken, "", "", target{}, "hook.json"},
	} {
		var args []string
		if tt.flavor != "" {
			args = append(args, tt.flavor)
		}
		got, err := findTarget(tt.dir, tt.arch, args)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s %s: %v, want %q", tt.arch, tt.flavor, err, tt.err)
			}
			continue
		}
		tt.want.kernel, tt.want.initrd = filepath.Join(tt.dir, tt.want.kernel), filepath.Join(tt.dir, tt.want.initrd)
		if err != nil || got != tt.want {
			t.Errorf("%s %s: %+v, %v, want %+v", tt.arch, tt.flavor, got, err, tt.want)
		}
	}
}

func TestQemuWarnsOfMemory(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "hook.json"), twoBuilds, 0o644)
	for memory, warned := range map[string]bool{"899": true, "900": false} {
		code, _, stderr := runHere(t.Context(), "qemu", "mine", "--dry-run", "--dir", dir, "--memory", memory)
		if code != exitOK || strings.Contains(stderr, "needed_mib=900") != warned {
			t.Errorf("%s MiB: exit code %d: %s", memory, code, stderr)
		}
	}
}

func TestQemuUsage(t *testing.T) {
	foreign := "arm64"
	if runtime.GOARCH == "arm64" {
		foreign = "amd64"
	}
	for args, want := range map[string]string{
		"hook-default":                        `the id "hook-default" does not end in an architecture: add --arch`,
		"a-amd64 b-amd64":                     "accepts at most 1 arg(s), received 2",
		"--arch riscv64":                      "must be one of amd64, arm64",
		"--accel hvf":                         "must be one of tcg, kvm",
		"--accel kvm --arch " + foreign:       "--accel kvm cannot run " + foreign,
		"--memory 2":                          "2 MiB of memory is too little",
		"--cpus 0":                            "0 CPUs",
		"--mac 52:54":                         "--mac: address 52:54: invalid MAC address",
		"--tink-server a:b:c":                 `tink server "a:b:c"`,
		"--ssh-port 22 --netdev tap,ifname=t": "needs QEMU's user network",
	} {
		code, stdout, stderr := runHere(t.Context(), append([]string{"qemu", "--dry-run"}, strings.Fields(args)...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, want) || !strings.HasSuffix(stderr, "see hooksmith qemu --help\n") {
			t.Errorf("%s: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
}
