#!/usr/bin/env bash
# Measures builds: wall time, peak memory, sizes. bench-build.sh [FLAVOR...]
# The first build of a flavor starts with an empty cache and downloads all.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ $# -gt 0 ]] || set -- hook-debian-cloud-amd64 hook-debian-amd64
work=out/bench
rm -rf "$work"
mkdir -p "$work"

measure() { # measure NAME COMMAND...
	local name=$1
	shift
	if ! /usr/bin/time -o "$work/time" -f '%e %M %P' "$@" >"$work/log" 2>&1; then
		cat "$work/log" >&2
		exit 1
	fi
	local wall rss cpu
	read -r wall rss cpu <"$work/time"
	printf '%-24s %-10s %8s s  %5d MB peak  %5s CPU\n' "$flavor" "$name" "$wall" "$((rss / 1024))" "$cpu"
}

for flavor in "$@"; do
	build=(bin/hooksmith build "$flavor" --cache-dir "$work/cache-$flavor")
	measure "cold" "${build[@]}" --out "$work/$flavor"
	for run in 1 2 3; do
		measure "cached $run" "${build[@]}" --out "$work/$flavor-$run" --offline
		cmp "$work/$flavor/checksum.txt" "$work/$flavor-$run/checksum.txt"
	done
	find "$work/$flavor" -type f -name '*-*' -links +1 -printf '%s %f\n' | sort -k 2 |
		awk '{ printf "  %-40s %7.1f MB\n", $2, $1 / 1e6 }'
done
