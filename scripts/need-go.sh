#!/usr/bin/env bash
# Makes sure that a Go toolchain for this module can be used, or says what to do.
# A Go since 1.21 fetches the version of go.mod by itself unless GOTOOLCHAIN=local.
set -euo pipefail
cd "$(dirname "$0")/.."

want=$(awk '$1 == "go" { print $2 }' go.mod)
fetches=1.21 # the first Go that can fetch a newer one

at_least() { # at_least HAVE WANT
	[[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]
}

installed() { # the version, outside of the module that may want another
	command -v go >/dev/null && (cd / && GOTOOLCHAIN=local go version) | awk '{ sub(/^go/, "", $3); print $3 }'
}

advise() {
	echo "error: $1" >&2
	echo "hint: install Go $want or newer from https://go.dev/dl/, or Debian's golang-go of trixie or later" >&2
	exit 1
}

if ! have=$(installed); then
	candidate=$(apt-cache policy golang-go 2>/dev/null | awk '/Candidate:/ { sub(/^[0-9]+:/, "", $2); print $2 }')
	if [[ -z $candidate || $candidate == "(none)" ]] || ! at_least "$candidate" "$fetches"; then
		advise "Go is not installed"
	fi
	scripts/install.sh go=golang-go /etc/ssl/certs/ca-certificates.crt=ca-certificates
	have=$(installed)
fi
at_least "$have" "$want" && exit 0
at_least "$have" "$fetches" || advise "Go $have is too old"
[[ ${GOTOOLCHAIN:-auto} != local ]] || advise "Go $have is too old, and GOTOOLCHAIN=local forbids to fetch another"
echo "Go $have will fetch Go $want" >&2
go version >/dev/null || advise "Go $have could not fetch Go $want"
