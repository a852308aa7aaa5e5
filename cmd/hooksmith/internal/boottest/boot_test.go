package boottest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hooksmith/cmd/hooksmith/internal/qemu"
	"hooksmith/cmd/hooksmith/internal/qemutest"
)

// What HookOS prints on its way up, in this order.
const (
	initStarted = `hooksmith: init started.*$`
	dockerReady = `hooksmith: docker: ready \((\w+).*$`
)

// The machine gets an address from QEMU, Docker runs on overlay2, and a
// container runs with a network of its own.
func TestDocker(t *testing.T) {
	v := qemutest.Boot(t, artifacts(t))
	v.Wait(initStarted)
	if got := v.Wait(dockerReady)[1]; got != "overlay2" {
		t.Errorf("storage driver %s, want overlay2", got)
	}
	v.Login()
	for command, want := range map[string]string{
		`docker info --format '{{.Driver}} cgroup{{.CgroupVersion}}'`: "overlay2 cgroup2",
		`ip -4 -o addr show scope global`:                             " 10.0.2.15/24 ",
		`cat /etc/resolv.conf`:                                        "nameserver 10.0.2.3",
	} {
		if got := v.Run(command); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	v.Run(`service exec hook-docker sh -c 'tar -C / -c usr/bin/busybox | docker import - bb'`)
	if got := v.Run(`docker run --rm bb /usr/bin/busybox echo sum $((40 + 2)) in a container`); !strings.Contains(got, "sum 42 in a container") {
		t.Errorf("docker run: %q", got)
	}
	if got := v.Run(`docker run --rm bb /usr/bin/busybox ip -4 -o addr show eth0`); !strings.Contains(got, " 172.17.0.") {
		t.Errorf("container's network: %q", got)
	}
	v.Lacks(`restarting in|Initramfs unpacking failed|segfault`)
}

// bootkit pulls the worker from a registry without TLS and gives it what the
// kernel command line says.
func TestWorker(t *testing.T) {
	m := artifacts(t)
	host, image := serveWorker(t, m.Arch)
	m.Append = append(m.Append, kernelArgs(t, qemu.Worker{
		TinkServer: hostInGuest, Image: image, ID: "worker-1", InsecureRegistries: []string{host},
	})...)
	v := qemutest.Boot(t, m)
	v.Wait(initStarted)
	v.Wait(`^testworker: started$`)
	for _, env := range []string{"ID=worker-1", "TINKERBELL_GRPC_AUTHORITY=10.0.2.2:42113", "TINKERBELL_TLS=false", "WORKER_ID=worker-1"} {
		v.Wait(`^testworker: env ` + env + `$`) // sorted
	}
	v.Wait(`^testworker: docker "Driver":"overlay2"`)
	v.Wait(`^testworker: finished$`)
	v.Login()
	if got := v.Run(`docker ps -a --format '{{.Names}} {{.Image}}'`); !strings.Contains(got, "tink-worker "+image) {
		t.Errorf("containers: %q", got)
	}
}

// A worker that is done with the machine reboots it through /worker/reboot.
func TestWorkerReboots(t *testing.T) {
	m := artifacts(t)
	host, image := serveWorker(t, m.Arch, "WORKER_ACTION=reboot")
	m.Append = append(m.Append, kernelArgs(t, qemu.Worker{Image: image, InsecureRegistries: []string{host}})...)
	v := qemutest.Boot(t, m)
	v.Wait(`^testworker: asking for a reboot: <nil>$`)
	v.Wait(`reboot: Restarting system`)
	v.WaitEnd()
}

// Too little memory truncates the file system; the machine says so, and how
// much is needed, instead of failing in odd ways.
func TestTooLittleMemory(t *testing.T) {
	m := artifacts(t)
	m.MemoryMiB = 512
	v := qemutest.Boot(t, m)
	v.Wait(`hooksmith: ERROR: too little memory: this machine has \d+ MiB, HookOS needs at least \d+ MiB`)
	v.Wait(`hooksmith: (a rescue shell is on every console|there is no working shell).*$`)
	v.Lacks(`hooksmith: docker`)
}

// `hooksmith qemu` itself boots the files, and takes QEMU along when it is
// interrupted.
func TestQemuCommand(t *testing.T) {
	m := artifacts(t)
	hooksmith := buildHooksmith(t)
	for _, flag := range []string{"", "--uefi"} {
		t.Run("qemu"+flag, func(t *testing.T) {
			if _, err := qemu.FindFirmware(os.DirFS("/"), m.Arch); flag != "" && err != nil {
				t.Skip(err)
			}
			dir := filepath.Dir(m.Kernel)
			cmd := exec.Command(hooksmith, strings.Fields("qemu --arch "+string(m.Arch)+" --dir "+dir+" "+flag)...)
			v := qemutest.Follow(t, m.Arch, dir, cmd)
			v.Wait(`To quit QEMU: Ctrl-C`)
			v.Wait(`Linux version \S+`)
			if flag != "" {
				v.Wait(`efi: EFI v\S+`)
			}
			v.Wait(initStarted)
			qemuPID := onlyChild(t, cmd.Process.Pid)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			v.WaitEnd()
			if got := cmd.ProcessState.ExitCode(); got != 130 {
				t.Errorf("exit code %d, want 130", got)
			}
			if err := syscall.Kill(qemuPID, 0); err == nil {
				t.Errorf("QEMU (%d) is still there", qemuPID)
			}
		})
	}
}

func kernelArgs(t *testing.T, w qemu.Worker) []string {
	t.Helper()
	args, err := w.KernelArgs()
	if err != nil {
		t.Fatal(err)
	}
	return args
}

func buildHooksmith(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hooksmith")
	if out, err := exec.Command("go", "build", "-o", path, "hooksmith/cmd/hooksmith").CombinedOutput(); err != nil {
		t.Fatalf("building hooksmith: %v: %s", err, out)
	}
	return path
}
