package dhcpconf

import (
	"errors"
	"fmt"
	"strings"

	"hooksmith/serve/ipxe"
)

// writeChain is for an iPXE that runs a script of others.
func writeChain(j *job) (string, error) {
	t := &text{mark: "#"}
	t.line("#!ipxe")
	t.say("Written by %s: from an iPXE of any kind to HookOS of %v.", j.Program, j.Server)
	t.say("In a script, for example an item of a menu, the chain line is enough; at iPXE's prompt (Ctrl-B) type both.")
	t.line("dhcp || shell")
	t.line("chain --autofree %s || shell", j.script())
	return t.String(), nil
}

// commands is iPXE's command line with both.
func (j *job) commands() string { return "dhcp && chain --autofree " + j.script() + " || shell" }

const noLoader = "there is no ipxe.lkrn among the binaries, which boot loaders of BIOS machines start as a Linux kernel; Debian's package ipxe has it"

// writePXELinux is an entry for a PXELINUX that is there.
func writePXELinux(j *job) (string, error) {
	loader, ok := j.Rule.Loader()
	if !ok {
		return "", errors.New(noLoader)
	}
	if err := checkName(loader.Name); err != nil {
		return "", err
	}
	t := &text{mark: "#"}
	t.say("Written by %s: an entry for pxelinux.cfg/default (BIOS) that boots HookOS of %v.", j.Program, j.Server)
	t.say("PXELINUX fetches %s from there itself (ADDRESS::FILE, by TFTP); nothing has to be copied.", loader.Name)
	t.line("LABEL hookos")
	t.in(func() {
		t.line("MENU LABEL HookOS by network (%v)", j.Server)
		t.line("KERNEL %v::%s", j.Server, loader.Name)
		t.line("APPEND %s", j.commands())
	})
	return t.String(), nil
}

// writeGRUB is a menu entry for a GRUB on disk. It has drivers for disks only,
// so that the binaries are copied beside it; and no && between commands.
func writeGRUB(j *job) (string, error) {
	loader, hasBIOS := j.Rule.Loader()
	x64 := j.grubBinary(ipxe.X64)
	arm64 := j.grubBinary(ipxe.ARM64)
	if !hasBIOS && x64 == "" && arm64 == "" {
		return "", fmt.Errorf("%s, nor one for UEFI", noLoader)
	}
	t := &text{mark: "#"}
	t.say("Written by %s: a menu entry of GRUB 2 (/etc/grub.d/40_custom, grub.cfg) that boots HookOS of %v.", j.Program, j.Server)
	t.say("Copy the binary that the entry names first: curl -O --output-dir FOLDER %s/FILE", j.base()+strings.TrimSuffix(j.BinaryPath, "/"))
	t.say("For a BIOS that is ipxe.lkrn in /boot, for UEFI the folder hook of the EFI system partition (/boot/efi/hook), and beside")
	t.say("it as autoexec.ipxe what hooksmith dhcp-config ipxe prints: there iPXE reads no command line, but that script.")
	words := strings.Join(each(strings.Fields(j.commands()), shQuote), " ")
	t.line("menuentry %s {", shQuote("HookOS by network ("+j.Server.String()+")"))
	t.in(func() {
		open := "if"
		for _, b := range []struct{ test, command, file string }{
			{`[ "$grub_platform" = pc ]`, "linux16", "/boot/" + loader.Name},
			{`[ "$grub_cpu" = x86_64 ]`, "chainloader", "/hook/" + x64},
			{`[ "$grub_cpu" = arm64 ]`, "chainloader", "/hook/" + arm64},
		} {
			if strings.HasSuffix(b.file, "/") {
				continue
			}
			line := b.command + " " + shQuote(b.file)
			if b.command == "linux16" {
				line += " " + words
			}
			t.line("%s %s; then", open, b.test)
			t.in(func() {
				t.line("search --no-floppy --set=root --file %s", shQuote(b.file))
				t.line("%s", line)
			})
			open = "elif"
		}
		t.line("fi")
	})
	t.line("}")
	return t.String(), nil
}

func (j *job) grubBinary(p ipxe.Platform) string {
	for _, c := range j.table.choices {
		if c.what == string(p) {
			return c.binary
		}
	}
	return ""
}

// writeDNS names the boot server.
func writeDNS(j *job) (string, error) {
	b := j.Server.As4()
	t := &text{mark: ";"}
	t.say("Written by %s: the boot server's name, for people and for scripts that name it.", j.Program)
	t.say("Firmware and DHCP options use the address: a machine that boots does not depend on DNS.")
	t.say("A zone file (BIND, NSD, Knot):")
	t.line("%s. 300 IN A %v", j.fqdn(), j.Server)
	t.say("Its reverse zone:")
	t.line("%d.%d.%d.%d.in-addr.arpa. 300 IN PTR %s.", b[3], b[2], b[1], b[0], j.fqdn())
	t.say("dnsmasq, both at once: host-record=%s,%v", j.fqdn(), j.Server)
	t.say("Then the script is http://%s%s", j.fqdn()+strings.TrimPrefix(j.base(), "http://"+j.Server.String()), j.ScriptPath)
	return t.String(), nil
}

// fqdn is the name, in home.arpa (RFC 8375) if it has no domain.
func (j *job) fqdn() string {
	if strings.Contains(j.Name, ".") {
		return j.Name
	}
	return j.Name + ".home.arpa"
}

// writeContainer is a script that runs dnsmasq, for hosts without it.
func writeContainer(j *job) (string, error) {
	write, what := writeProxy, "beside the DHCP server that is there"
	if j.Full != nil {
		write, what = writeDnsmasq, "giving the addresses"
	} else {
		j.Full = (&Network{}).withDefaults()
	}
	conf, err := write(j)
	if err != nil {
		return "", err
	}
	const end = "END_OF_DNSMASQ_CONF"
	if strings.Contains(conf, end) {
		return "", fmt.Errorf("a value contains %s", end)
	}
	t := &text{mark: "#"}
	t.line("#!/bin/sh")
	t.say("Written by %s: dnsmasq %s, in a container.", j.Program, what)
	t.say("Run it on a Linux host in the machines' network: sh FILE [INTERFACE]. docker or podman, as $ENGINE says.")
	t.line("set -eu")
	t.line("interface=${1:-%s}", j.Full.Interface)
	t.line("engine=${ENGINE:-docker}")
	t.line("dir=$(mktemp -d)")
	t.line(`trap 'rm -rf "$dir"' EXIT`)
	t.line(`sed "s/^interface=.*/interface=$interface/" >"$dir/dnsmasq.conf" <<'%s'`, end)
	t.WriteString(conf)
	t.line("%s", end)
	t.line(`cat >"$dir/Dockerfile" <<'END_OF_DOCKERFILE'`)
	t.line("FROM debian:stable-slim")
	t.line("RUN apt-get update && apt-get install -y --no-install-recommends dnsmasq-base && rm -rf /var/lib/apt/lists/*")
	t.line("COPY dnsmasq.conf /etc/hook-dnsmasq.conf")
	t.line(`ENTRYPOINT ["dnsmasq", "--keep-in-foreground", "--log-facility=-", "--user=root", "--conf-file=/etc/hook-dnsmasq.conf"]`)
	t.line("END_OF_DOCKERFILE")
	t.line(`"$engine" build --tag hook-dnsmasq "$dir"`)
	t.line(`"$engine" run --rm hook-dnsmasq --test`)
	t.say("That of an earlier run has the name, and the ports.")
	t.line(`"$engine" rm --force hook-dnsmasq >/dev/null 2>&1 || true`)
	t.say("The host's network: DHCP is broadcast, which no port mapping passes on. NET_ADMIN and NET_RAW: for raw answers.")
	t.line(`"$engine" run --detach --name hook-dnsmasq --restart unless-stopped --network host --cap-add NET_ADMIN --cap-add NET_RAW hook-dnsmasq`)
	return t.String(), nil
}
