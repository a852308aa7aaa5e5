#!/usr/bin/env bash
# Measures a build from an OCI layout of HookOS's size against the chain that
# upstream runs after LinuxKit's assembly: gunzip, cpio -i, rdfind, cpio -o,
# zstd -9. Both in turn, three times, because the ratio is what counts; on a
# busy machine that of the CPU seconds says more than that of the time.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/out/bench-layout
rm -rf "$work"
mkdir -p "$work"
echo "making the layout from Debian packages" >&2
HOOKSMITH_BENCH_LAYOUT=$work go test -count=1 -run '^TestWriteBenchLayout$' ./build >&2

hooksmith=$PWD/bin/hooksmith
cd "$work"
build=("$hooksmith" build --file bench.yml --layout layout --arch amd64 --cache-dir cache --offline)

# What LinuxKit would hand to the chain, made of the same images.
"${build[@]}" --out tar --format tar >/dev/null 2>&1
mkdir tree
tar -x --warning=no-unknown-keyword -f tar/bench.tar -C tree
(cd tree && find . | cpio -o -H newc --quiet | pigz >../input.cpio.gz)
printf 'files: %s in %s images\n' "$(du -sh tree | cut -f1)" "$(grep -c bench/ bench.yml)"
rm -rf tree tar

cat >chain.sh <<'CHAIN'
set -euo pipefail
mkdir chain
pigz -dc input.cpio.gz | (cd chain && cpio -idmu --no-absolute-filenames --quiet)
rdfind -makehardlinks true -makeresultsfile false chain >/dev/null
cd chain
find . | cpio -o -H newc --quiet | zstdmt -9 -q -f -o ../chain.img
CHAIN

measure() { # measure NAME COMMAND...
	local name=$1
	shift
	if ! /usr/bin/time -o usage.txt -f '%e %M %U %S' "$@" >log 2>&1; then
		cat log >&2
		exit 1
	fi
	read -r wall rss user system <usage.txt
	printf '%-30s %7s s  %5d MB peak  %s+%s s CPU\n' "$name" "$wall" "$((rss / 1024))" "$user" "$system"
}
ratio() { # against the chain of this run
	awk -v a="$chain" -v b="$wall" -v c="$chaincpu" -v d="$user" -v e="$system" \
		'BEGIN { printf "  %.1f times faster than the chain, with %.1f times less CPU\n", a / b, c / (d + e) }'
}

for run in 1 2 3; do
	printf 'load average: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
	rm -rf chain cache out
	measure "chain $run" bash chain.sh
	chain=$wall
	chaincpu=$(awk -v u="$user" -v s="$system" 'BEGIN { print u + s }')
	measure "empty cache $run" "${build[@]}" --out out
	ratio
	sed -i "s/contents: .*}/contents: \"run $run\"}/" bench.yml
	measure "one file changed $run" "${build[@]}" --out out
	ratio
	measure "nothing changed $run" "${build[@]}" --out out
done
(cd out && sha512sum --quiet --check checksum.txt)
rm -rf cache dev
measure "empty cache, --dev" "${build[@]}" --out dev --dev
rm -rf one
measure "one segment" "${build[@]}" --out one --segments=off
stat -c '%s %n' chain.img out/bench-initrd.img dev/bench-initrd.img one/bench-initrd.img |
	awk 'NR == 1 { chain = $1 } { printf "%-26s %11d bytes  %+5.1f %%\n", $2, $1, ($1 / chain - 1) * 100 }'
