package servetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"hooksmith/cmd/hooksmith/internal/qemu"
)

// tinkerbellScript is what Tinkerbell's boot server writes (auto.ipxe, default
// settings), less what only echoes.
const tinkerbellScript = `#!ipxe
set arch ${buildarch}
iseq ${arch} i386 && set arch x86_64 ||
iseq ${arch} arm64 && set arch aarch64 ||
set download-url http://` + serverIP + `
set kernel vmlinuz-${arch}
set initrd initramfs-${arch}
set retries:int32 1
set retry_delay:int32 1
set idx:int32 0
:retry_kernel
kernel ${download-url}/${kernel} syslog_host=` + serverIP + ` grpc_authority=` + serverIP + `:42113 tinkerbell_tls=false worker_id=${mac} hw_addr=${mac} modules=loop,squashfs,sd-mod,usb-storage intel_iommu=on iommu=pt initrd=${initrd} console=tty0 console=ttyS0,115200 && goto download_initrd || iseq ${idx} ${retries} && goto kernel-error || inc idx && echo retry in ${retry_delay} seconds && sleep ${retry_delay} && goto retry_kernel
:download_initrd
set idx:int32 0
:retry_initrd
initrd ${download-url}/${initrd} && goto boot || iseq ${idx} ${retries} && goto initrd-error || inc idx && sleep ${retry_delay} && goto retry_initrd
:boot
boot
:kernel-error
:initrd-error
exit
`

// peer serves as people do it without this program: dnsmasq for DHCP and TFTP,
// nginx for the rest, the chain of Tinkerbell: a stock iPXE is sent to ours,
// ours to its script. Debian's iPXE stands for Tinkerbell's, which is not to be
// had; it is told from QEMU's ROM by what it says that it can do.
func (l *lab) peer(artifacts, binaries string) {
	l.t.Helper()
	l.write("www/auto.ipxe", tinkerbellScript)
	for _, name := range []string{"vmlinuz-x86_64", "initramfs-x86_64"} {
		if err := os.Symlink(filepath.Join(artifacts, name), filepath.Join(l.dir, "www", name)); err != nil {
			l.t.Fatal(err)
		}
	}
	conf := l.write("nginx.conf", "daemon off; pid "+l.dir+"/nginx.pid; user root; error_log "+l.dir+"/nginx.log; events {}\n"+
		"http { access_log off; sendfile on; tcp_nopush on; server { listen 80; root "+l.dir+"/www; } }\n")
	dnsmasq := []string{"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=br0", "--pid-file=",
		"--dhcp-range=10.78.0.100,10.78.0.150,255.255.255.0,1h", "--dhcp-leasefile=" + filepath.Join(l.dir, "dnsmasq.leases"),
		"--enable-tftp", "--tftp-root=" + binaries, "--tftp-no-blocksize", // 512, Tinkerbell's default
		// Option 175 of our binary, unlike that of the ROM, has the feature VLAN (0x26) first, after bus and version.
		"--dhcp-match=set:ours,175,b1:05:*:*:*:*:*:eb:03:*:*:*:26", "--dhcp-match=set:efi,option:client-arch,7", "--dhcp-userclass=set:ipxe,iPXE",
		"--dhcp-boot=tag:ours,http://" + serverIP + "/auto.ipxe", "--dhcp-boot=tag:efi,tag:ipxe,http://" + serverIP + "/auto.ipxe",
		"--dhcp-boot=tag:efi,tag:!ipxe,ipxe.efi", "--dhcp-boot=tag:!ours,tag:!efi,undionly.kpxe"}
	if os.Getenv("HOOKSMITH_BENCH_NO_PING") != "" {
		dnsmasq = append(dnsmasq, "--no-ping")
	}
	for _, argv := range [][]string{dnsmasq, {"nginx", "-c", conf, "-e", filepath.Join(l.dir, "nginx.log")}} {
		cmd := l.in(l.server, argv...)
		if err := cmd.Start(); err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		})
	}
	until(l.t, "nginx", func() bool {
		return l.in(l.server, "curl", "-sf", "-o", "/dev/null", "http://"+serverIP+"/auto.ipxe").Run() == nil
	})
}

// unpackBinaries gives the peer the binaries that hooksmith serves.
func (l *lab) unpackBinaries() string {
	l.t.Helper()
	dir := filepath.Join(l.dir, "tftp")
	if err := os.Mkdir(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	s := l.serve()
	for _, name := range []string{"undionly.kpxe", "ipxe.efi"} {
		if out, err := l.in(l.server, "curl", "-sSf", "-o", filepath.Join(dir, name), "http://"+serverIP+"/"+name).CombinedOutput(); err != nil {
			l.t.Fatalf("%v: %s", err, out)
		}
	}
	s.stop()
	return dir
}

// TestBenchBoot measures power-on to the kernel's first line, this server and
// the peer in turns. scripts/bench-boot.sh runs it.
func TestBenchBoot(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("HOOKSMITH_BENCH_BOOT"))
	if err != nil {
		t.Skip("HOOKSMITH_BENCH_BOOT is not set: run make bench-serve")
	}
	for _, program := range []string{"nginx", "dnsmasq", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	dir := booted(t, qemu.AMD64)
	for _, f := range []firmware{bios, uefiPXE} {
		times := map[string][]time.Duration{}
		for range rounds {
			for _, who := range []string{"hooksmith", "peer"} {
				t.Run(string(f)+" "+who, func(t *testing.T) {
					l := newLab(t)
					if who == "peer" {
						l.peer(dir, l.unpackBinaries())
					} else {
						l.serve("--artifacts", dir, "--hardware", l.hardware(record), "--ra", "--console", "ttyS0,115200")
					}
					begin := time.Now()
					m := l.powerOn(kind{qemu.AMD64, f}, bootMAC, l.dir)
					m.Wait(kernelStarted)
					times[who] = append(times[who], time.Since(begin))
				})
			}
		}
		if len(times["hooksmith"]) != rounds || len(times["peer"]) != rounds {
			t.Fatalf("%s: not every machine has booted", f)
		}
		ours, theirs := median(times["hooksmith"]), median(times["peer"])
		t.Logf("bench-boot: %s: power-on to kernel: hooksmith %.1f s, dnsmasq + nginx with Tinkerbell's chain %.1f s, ratio %.2f (medians of %d; %v and %v)",
			f, ours.Seconds(), theirs.Seconds(), theirs.Seconds()/ours.Seconds(), rounds, times["hooksmith"], times["peer"])
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
