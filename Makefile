# make hookos   builds hooksmith and, with it, the default HookOS into out/hook
# make test     all that CI runs, about 25 minutes on 2 cores
# Other targets: kernel-test build guest lint fuzz bench bench-build bench-embed bench-publish bench-serve boot-test boot-test-all boot-test-arm64 clean

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

# An older Go fetches the version that go.mod names.
export GOTOOLCHAIN ?= auto
export FUZZTIME ?= 10s

OUT  ?= out/hook
# Tests over Debian's real packages, and of large archives: minutes under the race
# detector, so they also run, and fill their caches, without it.
REAL := ./build ./build/debian ./embed ./kernel ./publish/inspect ./cmd/hooksmith/internal/bootfiles
# Packages without a goroutine: what they do is computing, and many times slower under the race detector.
PLAIN := ./build/gunzip ./build/zstdlong ./kernel/kconfig ./kernel/drivers
# Machines in QEMU: what was built; and the way there, from power-on through the boot server. A machine takes one processor.
BOOT_TIMEOUT ?= 30m
BOOT := -p 2 ./cmd/hooksmith/internal/boottest ./cmd/hooksmith/internal/servetest

.PHONY: hookos build guest test lint fuzz bench bench-build bench-embed bench-publish bench-serve boot-test boot-test-all boot-test-arm64 kernel-test boot-needs serve-needs publish-needs clean

hookos: build
	bin/hooksmith build --out $(OUT)
	@echo
	@echo "HookOS is in $(OUT)."
	@echo "Boot it here:    bin/hooksmith qemu --dir $(OUT)"
	@echo "Boot machines:   sudo bin/hooksmith serve --artifacts $(OUT) --hardware hardware.csv"

build: guest
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags='-s -w' -o bin/hooksmith ./cmd/hooksmith

# The programs inside HookOS, which bin/hooksmith carries. Same source, same
# bytes: no path, no build id, no commit.
guest:
	@scripts/need-go.sh
	@for arch in amd64 arm64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags='-s -w -buildid=' \
	    -o guest/embedded/guest-linux-$$arch ./guest; \
	done

test: guest
	scripts/install.sh gcc=gcc /usr/include/stdlib.h=libc6-dev shellcheck=shellcheck git=git \
	  cpio=cpio zstd=zstd xz=xz-utils ip=iproute2 dnsmasq=dnsmasq-base busybox=busybox-static depmod=kmod \
	  dockerd=docker.io iptables=iptables curl=curl atftp=atftp tftp=tftp-hpa dropbear=dropbear-bin \
	  debootstrap=debootstrap patch=patch
	@$(MAKE) --no-print-directory boot-needs serve-needs publish-needs
	@$(MAKE) --no-print-directory lint
	HOOKSMITH_TEST_MIRROR=1 go test -timeout 20m $(REAL) $(PLAIN)
	go test -race -timeout 20m $$(go list ./... | grep -vxF "$$(go list $(PLAIN))")
	@FUZZTIME=$${TEST_FUZZTIME:-3s} $(MAKE) --no-print-directory fuzz
	@echo "Booting, and compiling a kernel meanwhile: their lines come mixed."
	@$(MAKE) --no-print-directory -j2 boot-test kernel-test

lint:
	scripts/lint.sh

fuzz:
	scripts/fuzz.sh

bench:
	go test -run '^$$' -bench . -benchmem ./...

bench-build: build
	@scripts/install.sh /usr/bin/time=time pigz=pigz rdfind=rdfind cpio=cpio zstd=zstd
	scripts/bench-build.sh
	scripts/bench-layout.sh

# The boot server's clients, the browser for its page, GRUB's parser. No servers: their packages start them; tests unpack them.
serve-needs:
	@scripts/install.sh chromium=chromium dhclient=isc-dhcp-client dhcpcd=dhcpcd-base grub-script-check=grub-common

# The servers that publish is tested with (RUNLEVEL=1: their packages do not start them), and the tool that verifies signatures.
publish-needs:
	@RUNLEVEL=1 scripts/install.sh nginx=nginx-light docker-registry=docker-registry sshd=openssh-server minisign=minisign

# Each beside what Debian has for it, alternating, in one run.
bench-embed: guest
	@scripts/install.sh /usr/bin/time=time dockerd=docker.io cpio=cpio zstd=zstd
	scripts/bench-embed.sh

bench-publish: build
	@scripts/install.sh /usr/bin/time=time rclone=rclone
	scripts/bench-publish.sh

bench-serve: build boot-needs serve-needs
	@scripts/install.sh atftpd=atftpd atftp=atftp nginx=nginx-light perfdhcp=kea-admin kea-dhcp4=kea-dhcp4-server dnsmasq=dnsmasq-base
	HKS_TFTP_BENCH=1 go test -count=1 -run TestBench -v ./serve/tftp
	@for bench in dhcp http storm boot; do echo "== $$bench"; scripts/bench-$$bench.sh; done

boot-needs:
	@scripts/install.sh qemu-system-x86_64=qemu-system-x86 qemu-system-aarch64=qemu-system-arm \
	  qemu-img=qemu-utils /usr/share/OVMF=ovmf /usr/share/AAVMF=qemu-efi-aarch64

boot-test: build boot-needs serve-needs
	bin/hooksmith build hook-debian-cloud-amd64 --out out/boot-test
	HOOKSMITH_TEST_MIRROR=1 HOOKSMITH_BOOT=amd64 HOOKSMITH_BOOT_DIR=$(CURDIR)/out/boot-test go test -count=1 -v -timeout $(BOOT_TIMEOUT) $(BOOT)

# Every kind of machine (BIOS, UEFI PXE, UEFI HTTP, arm64 by PXE and HTTP) by every way: our server alone, as a proxy beside a plain DHCP
# server, and beside dnsmasq, Kea and ISC dhcpd with the configuration that is made for them. About 40 boots, an hour.
boot-test-all: export HOOKSMITH_BOOT_ALL := 1
boot-test-all:
	@$(MAKE) --no-print-directory boot-test BOOT_TIMEOUT=90m
	@$(MAKE) --no-print-directory boot-test-arm64 BOOT_TIMEOUT=90m

boot-test-arm64: build boot-needs serve-needs
	bin/hooksmith build hook-debian-arm64 --out out/boot-test-arm64
	HOOKSMITH_TEST_MIRROR=1 HOOKSMITH_BOOT=arm64 HOOKSMITH_BOOT_DIR=$(CURDIR)/out/boot-test-arm64 go test -count=1 -v -timeout $(BOOT_TIMEOUT) $(BOOT)

# Kernels: compiled and configured in a Docker daemon of its own, and booted. What ccache has is kept for the next run
# (HOOKSMITH_KERNEL_COLD=1 compiles everything anew).
kernel-test: build boot-needs
	@scripts/install.sh dockerd=docker.io iptables=iptables debootstrap=debootstrap patch=patch make=make
	HOOKSMITH_KERNEL=1 go test -count=1 -v -parallel 16 -timeout 60m ./cmd/hooksmith/internal/kerneltest

clean:
	rm -rf out bin guest/embedded/guest-linux-*
