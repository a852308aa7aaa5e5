#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (10s) each.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${FUZZTIME:-10s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fuzz() { # fuzz TARGET PACKAGE
	go test -run '^$' -fuzz "^$1\$" -fuzztime "$time" -fuzzminimizetime 1x "$2" </dev/null 2>&1 | tee "$log"
}

# Go's fuzzer now and then reports its own end of time as a failure, without an
# input that fails. That, and nothing else, is worth another try.
fuzz_again() {
	grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log" || return 1
	echo "fuzz: $2 $1 again: the fuzzer's own deadline"
	fuzz "$1" "$2"
}

count=0
while IFS=: read -r file target; do
	count=$((count + 1))
	echo "fuzz: ./$(dirname "$file") $target $time"
	fuzz "$target" "./$(dirname "$file")" || fuzz_again "$target" "./$(dirname "$file")"
done < <(find . -name '*_test.go' -not -path './out/*' -printf '%P\n' | LC_ALL=C sort |
	xargs grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sed 's/func //')
echo "fuzz: $count targets, $time each"
