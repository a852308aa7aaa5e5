#!/usr/bin/env bash
# Runs every fuzz target of the module for FUZZTIME (10s) each, one package on
# each processor at a time. A package is compiled once for all of its targets.
set -euo pipefail
cd "$(dirname "$0")/.."

export FUZZTIME=${FUZZTIME:-10s}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz
export work cache root=$PWD

fuzz() { # fuzz TARGET PACKAGE DIR
	(cd "$root/$2" && "$3/fuzz.test" -test.run '^$' -test.fuzz "^$1\$" -test.fuzztime "$FUZZTIME" -test.parallel 1 \
		-test.fuzzminimizetime 1x -test.fuzzcachedir "$cache/hooksmith/$2") </dev/null >"$3/log" 2>&1
}

# Go's fuzzer now and then reports its own end of time as a failure, without an
# input that fails. That, and nothing else, is worth another try.
again() { # again DIR
	grep -q 'context deadline exceeded' "$1/log" && ! grep -q 'Failing input written' "$1/log"
}

package() { # package PACKAGE: all targets of a package; what failed is shown whole
	local dir target
	dir=$work/${1//\//_}
	mkdir "$dir"
	go test -c -fuzz=. -o "$dir/fuzz.test" "./$1"
	grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$1"/*_test.go | sed 's/func //' | while read -r target; do
		if ! fuzz "$target" "$1" "$dir" && { ! again "$dir" || ! fuzz "$target" "$1" "$dir"; }; then
			echo "fuzz: ./$1 $target FAILED"
			cat "$dir/log"
			exit 1
		fi
		echo "fuzz: ./$1 $target $(grep -o 'execs: .*' "$dir/log" | tail -n 1)"
	done
}
export -f fuzz again package

# The packages with most targets first, so that the processors end together.
grep -rcE '^func Fuzz' --include='*_test.go' --exclude-dir=out . | grep -v ':0$' |
	awk -F: '{ sub("^./", "", $1); sub("/[^/]*$", "", $1); n[$1] += $2 } END { for (p in n) print n[p], p }' |
	LC_ALL=C sort -k1,1nr -k2 >"$work/packages"
cut -d' ' -f2 "$work/packages" | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'package {}'
awk -v time="$FUZZTIME" '{ n += $1 } END { print "fuzz: " n " targets, " time " each" }' "$work/packages"
