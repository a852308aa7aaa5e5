package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"hooksmith/cmd/hooksmith/internal/qemu"
)

// qemuOptions are the flags of `hooksmith qemu`.
type qemuOptions struct {
	dir, arch, mac, disk string
	uefi, dryRun         bool
	machine              qemu.Machine
	worker               qemu.Worker
}

func newQemu(a *app) *cobra.Command {
	var o qemuOptions
	cmd := &cobra.Command{
		Use:   "qemu [FLAVOR] [-- QEMU-ARGUMENT...]",
		Short: "Boot a built HookOS in QEMU",
		Long: `Boot the kernel and the initramfs in --dir in QEMU, with the serial console on this
terminal. Keys go to the machine, Ctrl-C too; quit with Ctrl-A x.

Without FLAVOR vmlinuz-x86_64 or -aarch64 is booted, whichever fits this host or
--arch. The default network is QEMU's own: the machine gets an address by DHCP and
reaches this host as 10.0.2.2. Arguments after -- go to QEMU.`,
		Example: `  # boot what 'hooksmith build' made, log in on the console
  hooksmith qemu

  # arm64, with more memory and a kernel argument
  hooksmith qemu hook-debian-arm64 --memory 4096 --append syslog_host=10.0.2.2

  # as a worker of the Tinkerbell on this host, with a disk to provision
  hooksmith qemu --tink-server 10.0.2.2 --mac 52:54:00:00:00:01 --disk 10G \
    --tink-worker-image 10.0.2.2:5000/tink-worker:latest --insecure-registry 10.0.2.2:5000

  # only print the command line
  hooksmith qemu --dry-run --uefi`,
		Args: flavorThenQemuArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				args, o.machine.Extra = args[:at], args[at:]
			}
			m, needed, err := o.plan(args)
			if err != nil {
				return err
			}
			if m.MemoryMiB < needed {
				// It would boot a truncated file system, and say so a minute later.
				a.log.Warn("this HookOS needs more memory", "given_mib", m.MemoryMiB, "needed_mib", needed)
			}
			if o.dryRun {
				return a.printQemu(m, o.disk)
			}
			return a.boot(cmd.Context(), m, o.disk)
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *qemuOptions) addFlags(cmd *cobra.Command) {
	m, w, f := &o.machine, &o.worker, cmd.Flags()
	m.Accel = "tcg"
	f.StringVar(&o.dir, "dir", filepath.Join("out", "hook"), "`FOLDER` with vmlinuz-ARCH and initramfs-ARCH")
	addChoice(cmd, &o.arch, "arch", "architecture of the machine (default that of FLAVOR, else of this host)", "amd64", "arm64", "x86_64", "aarch64")
	addChoice(cmd, &m.Accel, "accel", "tcg emulates, kvm needs /dev/kvm and the host's architecture", "tcg", "kvm")
	f.IntVar(&m.MemoryMiB, "memory", 2048, "memory in `MiB`")
	f.IntVar(&m.CPUs, "cpus", 1, "number of CPUs; QEMU 7.2 emulating several crashes a Linux now and then as it starts")
	f.StringArrayVar(&m.Append, "append", nil, "add `ARGUMENTS` to the kernel command line (repeatable)")
	f.BoolVar(&o.uefi, "uefi", false, "boot through UEFI firmware (packages ovmf, qemu-efi-aarch64)")
	f.StringVar(&o.disk, "disk", "", "add an empty disk of `SIZE`, as in 10G; it is gone after the run")
	f.StringVar(&m.Netdev, "netdev", "user", "network as QEMU's -netdev `VALUE` without id, as in tap,ifname=tap0,script=no; none for no network")
	f.StringVar(&o.mac, "mac", "", "`ADDRESS` of the network interface")
	f.IntVar(&m.SSHPort, "ssh-port", 0, "forward `PORT` of this host's 127.0.0.1 to the machine's port 22")
	f.StringVar(&w.TinkServer, "tink-server", "", "tink server as `HOST[:PORT]` (grpc_authority=; port 42113 unless given)")
	f.BoolVar(&w.TinkTLS, "tink-tls", false, "the tink server speaks TLS (tinkerbell_tls=)")
	f.StringVar(&w.Image, "tink-worker-image", "", "worker `IMAGE` that bootkit starts (tink_worker_image=)")
	f.StringVar(&w.ID, "worker-id", "", "worker `ID` (default --mac, with --tink-server)")
	f.StringVar(&w.DockerRegistry, "docker-registry", "", "registry `HOST` of the worker image (docker_registry=)")
	f.StringSliceVar(&w.InsecureRegistries, "insecure-registry", nil, "registry `HOST[:PORT]` to use without TLS (insecure_registries=; repeatable)")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the command line, quoted for a shell, and run nothing")
}

// flavorThenQemuArgs allows one argument before -- and any number after it.
func flavorThenQemuArgs(cmd *cobra.Command, args []string) error {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		args = args[:at]
	}
	return cobra.MaximumNArgs(1)(cmd, args)
}

// plan completes the machine that the flags began. It reads hook.json and looks
// for firmware; the files to boot need not be there.
func (o *qemuOptions) plan(args []string) (m qemu.Machine, ramNeededMiB int, err error) {
	m = o.machine
	target, err := findTarget(o.dir, o.arch, args)
	if err != nil {
		return m, 0, err
	}
	m.Arch, m.Kernel, m.Initrd = target.arch, target.kernel, target.initrd
	if m.Accel == "kvm" && string(m.Arch) != runtime.GOARCH {
		return m, 0, usagef("--accel kvm cannot run %s on a %s host", m.Arch, runtime.GOARCH)
	}
	if o.mac != "" {
		if m.MAC, err = net.ParseMAC(o.mac); err != nil {
			return m, 0, usagef("--mac: %w", err)
		}
	}
	w := o.worker
	if w.ID == "" && w.TinkServer != "" {
		w.ID = m.MAC.String() // as Tinkerbell's boot server names workers
	}
	kernelArgs, err := w.KernelArgs()
	if err != nil {
		return m, 0, &usageError{err}
	}
	m.Append = append(kernelArgs, m.Append...)
	if err := m.Validate(); err != nil {
		return m, 0, &usageError{err}
	}
	if o.uefi {
		m.Firmware, err = qemu.FindFirmware(os.DirFS("/"), m.Arch)
		err = withHint(err, "sudo apt-get install %s", m.Arch.FirmwarePackage())
	}
	return m, target.ramNeededMiB, err
}

// printQemu prints what boot would run. The disk is made in the current folder.
func (a *app) printQemu(m qemu.Machine, disk string) error {
	line := ""
	if disk != "" {
		m.Disk = "hooksmith-disk.qcow2"
		line = qemu.Quote(qemu.DiskCommand(m.Disk, disk)) + " && "
	}
	_, err := fmt.Fprintln(a.stdout, line+qemu.Quote(m.Argv()))
	return err
}

// boot checks what the machine needs, then runs it on the terminal.
func (a *app) boot(ctx context.Context, m qemu.Machine, disk string) error {
	for _, path := range []string{m.Kernel, m.Initrd} {
		if _, err := os.Stat(path); err != nil {
			return withHint(fmt.Errorf("nothing to boot: %w", err), "build it first: hooksmith build --out %s", qemu.Quote([]string{filepath.Dir(path)}))
		}
	}
	if err := qemu.Look(m.Arch.Binary(), m.Arch.Package()); err != nil {
		return err
	}
	if disk != "" {
		temp, err := os.MkdirTemp("", "hooksmith-qemu-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temp)
		m.Disk = filepath.Join(temp, "disk.qcow2")
		if err := qemu.CreateDisk(ctx, m.Disk, disk); err != nil {
			return err
		}
	}
	quit := "Ctrl-C"
	if a.isTerminal(a.stdin) {
		quit = "Ctrl-A x"
	}
	fmt.Fprintf(a.stderr, "Booting %s (%s, %d MiB). To quit QEMU: %s\n", m.Initrd, m.Arch, m.MemoryMiB, quit)
	a.log.Debug("starting QEMU", "command", qemu.Quote(m.Argv()))
	return qemu.Run(ctx, m.Argv(), a.stdin, a.stdout, a.stderr)
}
