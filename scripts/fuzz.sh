#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (10s) each.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${FUZZTIME:-10s}
count=0
while IFS=: read -r file target; do
	count=$((count + 1))
	echo "fuzz: ./$(dirname "$file") $target $time"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x "./$(dirname "$file")" </dev/null
done < <(find . -name '*_test.go' -not -path './out/*' -printf '%P\n' | LC_ALL=C sort |
	xargs grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sed 's/func //')
echo "fuzz: $count targets, $time each"
