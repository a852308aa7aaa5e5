#!/bin/sh
# The steps of a kernel's compilation, in the container, in the kernel's source.
# ARCH and, for another architecture than the container's, CROSS_COMPILE are set.
# Lists of folders and of targets are meant to be split into words.
# shellcheck disable=SC2016,SC2046,SC2086
set -eu

out=/src/out
estimates=/ccache/hooksmith

fail() {
	echo "error: $*" >&2
	exit 1
}

enabled() { grep -q "^CONFIG_$1=y" .config; }

# patch_source FILE: a patch that applies in part, or in a place that only looks like
# its own, is an error.
patch_source() { patch -p1 --fuzz=0 --batch --forward --no-backup-if-mismatch --reject-file=- -i "$1"; }

# Tinkerbell's command line is long. A source in which this does nothing is an
# error: the kernel would cut the line without a word.
cmdline() {
	case $ARCH in
	x86_64) file=arch/x86/include/asm/setup.h ;;
	arm64) file=arch/arm64/include/uapi/asm/setup.h ;;
	esac
	define='^#[[:space:]]*define[[:space:]]+COMMAND_LINE_SIZE[[:space:]]+'
	[ -f "$file" ] || fail "the source has no $file, where COMMAND_LINE_SIZE is expected: this source cannot be given 4096 bytes of command line"
	size=$(sed -nE "s/$define([0-9]+).*/\1/p" "$file")
	case $size in
	'' | *[!0-9]*) fail "$file does not define COMMAND_LINE_SIZE once, as a number: this source cannot be given 4096 bytes of command line" ;;
	esac
	if [ "$size" -lt 4096 ]; then
		sed -i -E "s/($define)[0-9]+/\14096/" "$file"
		grep -qE "${define}4096\$" "$file" || fail "$file: COMMAND_LINE_SIZE did not become 4096"
	fi
}

targets() {
	case $ARCH in
	x86_64) printf 'bzImage' ;;
	arm64) printf 'Image' ;;
	esac
	if enabled MODULES; then printf ' modules'; fi
	if [ "$ARCH" = arm64 ] && enabled OF; then printf ' dtbs'; fi
}

# estimate NAME: how many objects the last kernel of that name had, or about
# how many the configuration asks for, which count.mk reads folder by folder.
estimate() {
	if [ -s "$estimates/$1" ]; then
		cat "$estimates/$1"
		return
	fi
	srcarch=${ARCH%_64}
	folders="init usr kernel certs mm fs ipc security crypto block io_uring drivers sound net virt lib
		arch/$srcarch arch/$srcarch/lib arch/$srcarch/pci arch/$srcarch/power"
	total=150 # programs that run while it is compiled, and what boots it
	while [ -n "$folders" ]; do
		lines=$(printf '%s\n' $folders | sort -u | xargs -n 1 -P 2 sh -c \
			'[ ! -d "$1" ] || make -s --no-print-directory -f /src/count.mk obj="$1" 2>/dev/null || :' -)
		set -- $(printf '%s\n' "$lines" | awk '{ n += $1; for (i = 2; i <= NF; i++) below = below " " $i } END { print n + 0, below }')
		total=$((total + $1))
		shift
		folders=$*
	done
	echo "$total"
}

remember() {
	mkdir -p "$estimates"
	echo "$2" >"$estimates/$1.$$"
	mv "$estimates/$1.$$" "$estimates/$1"
}

# external NAME DIR JOBS: modules from outside of the kernel. Makefiles that
# look for the kernel themselves, as those of Intel's drivers, are told where it
# is; all others are kbuild's. Each may use what the ones before it export, as
# Intel's irdma uses ice.
external() {
	dir=$(cd "/src/external/$1/$2" && pwd) # kbuild compares paths as text
	release=$(release)
	symbols=$(find /src/external -name Module.symvers | sort | tr '\n' ' ')
	if [ -f "$dir/Makefile" ] && grep -qE '^[^#]*\bKSRC\b' "$dir/Makefile"; then
		make -C "$dir" -j"$3" KSRC="$PWD" KOBJ="$PWD" BUILD_KERNEL="$release" KVER="$release" KBUILD_EXTRA_SYMBOLS="$symbols"
	else
		make M="$dir" KERNEL_SRC="$PWD" KERNELDIR="$PWD" KBUILD_EXTRA_SYMBOLS="$symbols" -j"$3" modules
	fi
	[ -n "$(find "$dir" -name '*.ko' -print -quit)" ] || fail "external module $1: it was built, but there is no .ko file"
	make M="$dir" INSTALL_MOD_PATH="$out/modules" INSTALL_MOD_STRIP=1 INSTALL_MOD_DIR="updates/$1" DEPMOD=true modules_install
	[ -n "$(find "$out/modules/lib/modules/$release/updates/$1" -name '*.ko*' -print -quit)" ] || fail "external module $1: it was built, but not installed"
}

release() { make -s kernelrelease; }

# Same content, same bytes.
pack() { tar --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mtime=@946684800 --mode=u+rw,go+r-w -C "$1" -cf "$2" "$3"; }

# install puts the result together; what of it is an image is Go's business.
install_kernel() {
	rm -rf "$out"
	mkdir -p "$out/modules/lib/modules" "$out/image"
	if enabled MODULES; then
		make INSTALL_MOD_PATH="$out/modules" INSTALL_MOD_STRIP=1 DEPMOD=true modules_install
	fi
}

finish() {
	release=$(release)
	modules=$out/modules/lib/modules/$release
	if [ -d "$modules" ]; then
		rm -f "$modules/build" "$modules/source"
		depmod -b "$out/modules" -e -F System.map "$release" 2>&1 | tee /tmp/depmod.log
		! grep -E 'needs unknown symbol|ERROR|disagrees about version' /tmp/depmod.log || fail "modules need what the kernel does not have (see above)"
	fi
	pack "$out/modules" "$out/image/kernel.tar" lib
	cp System.map "$out/image/System.map"
	cp "$1" "$out/image/kernel"
	if [ "$ARCH" = arm64 ] && enabled OF && [ -n "$(find arch/arm64/boot/dts -name '*.dtb' -print -quit)" ]; then
		make INSTALL_DTBS_PATH="$out/dtbs" dtbs_install
		pack "$out/dtbs" "$out/dtbs.tar" .
		gzip -n -9 <"$out/dtbs.tar" >"$out/image/dtbs.tar.gz"
	fi
}

step=$1
shift
case $step in
patch) patch_source "$@" ;;
cmdline) cmdline ;;
configure) make olddefconfig ;;
release) release ;;
free) df -Pk /src | awk 'NR == 2 { print $4 }' ;;
estimate) estimate "$@" ;;
remember) remember "$@" ;;
compile) make -j"$1" $(targets) ;;
install) install_kernel ;;
external) external "$@" ;;
finish) finish "$@" ;;
hits) touch /tmp/ccache.log && awk '/^(direct|preprocessed)_cache_hit/ { h++ } /^cache_miss/ { m++ } END { print h + 0, m + 0 }' /tmp/ccache.log ;;
*) fail "unknown step $step" ;;
esac
