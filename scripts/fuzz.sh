#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (10s) each. A package is
# compiled once for all of its targets.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${FUZZTIME:-10s}
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz

fuzz() { # fuzz TARGET PACKAGE
	(cd "$root/$2" && "$work/fuzz.test" -test.run '^$' -test.fuzz "^$1\$" -test.fuzztime "$time" \
		-test.fuzzminimizetime 1x -test.fuzzcachedir "$cache/hooksmith/$2") </dev/null 2>&1 | tee "$work/log"
}

# Go's fuzzer now and then reports its own end of time as a failure, without an
# input that fails. That, and nothing else, is worth another try.
fuzz_again() {
	grep -q 'context deadline exceeded' "$work/log" && ! grep -q 'Failing input written' "$work/log" || return 1
	echo "fuzz: $2 $1 again: the fuzzer's own deadline"
	fuzz "$1" "$2"
}

count=0 compiled=
while IFS=: read -r file target; do
	count=$((count + 1)) package=$(dirname "$file")
	echo "fuzz: ./$package $target $time"
	if [[ $package != "$compiled" ]]; then
		go test -c -fuzz=. -o "$work/fuzz.test" "./$package"
		compiled=$package
	fi
	fuzz "$target" "$package" || fuzz_again "$target" "$package"
done < <(find . -name '*_test.go' -not -path './out/*' -printf '%h %f\n' | LC_ALL=C sort |
	sed 's/^\.\///; s/ /\//' | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sed 's/func //')
echo "fuzz: $count targets, $time each"
