#!/usr/bin/env bash
# Power-on to the kernel's first line in QEMU, BIOS and UEFI: `hooksmith serve`
# beside dnsmasq + nginx with Tinkerbell's chain and defaults, in turns.
# Needs root (namespaces), qemu, ovmf, dnsmasq, nginx and what `make boot-test` builds.
# ROUNDS (3), DIR (out/boot-test); NO_PING=1: dnsmasq without its ping check.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${DIR:-out/boot-test}
if [[ ! -e $dir/vmlinuz-x86_64 ]]; then
	bin/hooksmith build hook-debian-cloud-amd64 --out "$dir"
fi
HOOKSMITH_BENCH_NO_PING=${NO_PING:-} HOOKSMITH_BENCH_BOOT=${ROUNDS:-3} HOOKSMITH_BOOT=amd64 HOOKSMITH_BOOT_DIR=$(realpath "$dir") \
	go test -count=1 -timeout 60m -v -run '^TestBenchBoot$' ./cmd/hooksmith/internal/servetest |
	grep --line-buffered -E 'bench-boot|Linux version|^(---|FAIL|ok)|not '
