#!/usr/bin/env bash
# Makes the kernel configurations of configs/kernel from recipes.yaml and fragments.
#
#   scripts/kernel-configs.sh                 all of them
#   scripts/kernel-configs.sh --check         write nothing; fail if one is not up to date
#   scripts/kernel-configs.sh --only NAME     one, such as generic-6.12.y-x86_64
#
# Needs Debian's packages make gcc flex bison, gcc-aarch64-linux-gnu (on amd64;
# gcc-x86-64-linux-gnu on arm64), and linux-source-6.12 and linux-source-6.1,
# which it gets by `apt-get download` unless KERNEL_SOURCES names unpacked
# trees, separated by colons. Unpacked trees (1.5 GB each) are kept in
# ${XDG_CACHE_HOME:-~/.cache}/hooksmith/kernel-configs.
set -euo pipefail
cd "$(dirname "$0")/.."

args=()
while [ $# -gt 0 ]; do
	case $1 in
	--check) args+=(-check) ;;
	--only) args+=(-only "${2:?--only needs a NAME}") && shift ;;
	*) echo "kernel-configs: unknown argument $1 (--check, --only NAME)" >&2 && exit 2 ;;
	esac
	shift
done

for tool in make gcc flex bison; do
	command -v "$tool" >/dev/null || { echo "kernel-configs: $tool is missing: apt-get install make gcc flex bison" >&2; exit 1; }
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/hooksmith/kernel-configs
unpack() { # unpack VERSION: Debian's source of it, once
	local version=$1 tmp
	[ -e "$cache/$version/Makefile" ] && return
	mkdir -p "$cache"
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	echo "kernel-configs: unpacking linux-source-$version into $cache/$version" >&2
	(cd "$tmp" && apt-get download -q "linux-source-$version" >&2 && dpkg-deb -x ./*.deb . &&
		mkdir tree && tar -C tree --strip-components=1 -xf "usr/src/linux-source-$version.tar.xz") ||
		{ rm -rf "$tmp"; echo "kernel-configs: no linux-source-$version from APT: set KERNEL_SOURCES to unpacked trees" >&2; return 1; }
	mv "$tmp/tree" "$cache/$version"
	rm -rf "$tmp"
}

if [ -n "${KERNEL_SOURCES:-}" ]; then
	IFS=: read -ra trees <<<"$KERNEL_SOURCES"
else
	trees=()
	for version in 6.12 6.1; do
		unpack "$version" && trees+=("$cache/$version")
	done
fi
for tree in "${trees[@]}"; do
	args+=(-source "$tree")
done
exec go run ./scripts/kernelconfigs "${args[@]}"
