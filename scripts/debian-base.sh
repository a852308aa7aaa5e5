#!/usr/bin/env bash
# Makes debian:stable for Docker where no registry can be reached:
#
#   scripts/debian-base.sh FILE.tar [SUITE]
#   docker import FILE.tar debian:stable
#
# The packages come from the mirror that this machine's APT uses for Debian
# (DEBIAN_MIRROR overrides it), which containers then use too. Needs root.
# FILE.tar appears when it is complete.
set -euo pipefail

file=${1:?usage: debian-base.sh FILE.tar [SUITE]} suite=${2:-trixie}
PATH=$PATH:/usr/sbin:/sbin

if ! command -v debootstrap >/dev/null; then
	echo "error: debootstrap is not installed: apt-get install debootstrap" >&2
	exit 1
fi
if [[ $(id -u) -ne 0 ]]; then
	echo "error: debootstrap needs root: sudo $0 $*" >&2
	exit 1
fi

mirror=${DEBIAN_MIRROR:-}
if [[ -z $mirror ]] && command -v apt-get >/dev/null; then
	mirror=$(apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n1)
fi
mirror=${mirror:-http://ftp.debian.org/debian}

work=$(mktemp -d)
trap 'rm -rf "$work" "$file.$$"' EXIT
if ! debootstrap --variant=minbase "$suite" "$work/root" "$mirror" >"$work/log" 2>&1; then
	tail -n 20 "$work/log" >&2
	echo "error: debootstrap of $suite failed (its mirror is APT's; DEBIAN_MIRROR overrides it)" >&2
	exit 1
fi
# What Debian's own images have: no daemons start, no package lists stay.
printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
chmod 755 "$work/root/usr/sbin/policy-rc.d"
rm -rf "$work/root"/var/lib/apt/lists/* "$work/root"/var/cache/apt/*.bin "$work/root"/var/cache/apt/archives/*.deb
tar -C "$work/root" --one-file-system --exclude='./dev/*' -c . >"$file.$$"
mv "$file.$$" "$file"
