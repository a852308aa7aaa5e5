#!/usr/bin/env bash
# Every check that needs no test to run. All of them run; any finding fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# Built by `go run` through the Go module proxy: nothing to install.
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2

failed=0
check() { # check NAME COMMAND...
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		echo "lint: $name: ok"
	else
		printf '%s\nlint: %s: FAILED\n' "$out" "$name"
		failed=1
	fi
}

check gofmt bash -c '! gofmt -l . | grep .'
check "go vet" go vet ./...
check "go vet, arm64" env GOARCH=arm64 go vet ./...
check staticcheck go run "$staticcheck" ./...
check "go mod tidy" go mod tidy -diff
check shellcheck shellcheck scripts/*.sh .ci/run
exit "$failed"
