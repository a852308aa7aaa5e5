#!/usr/bin/env bash
# A thousand simulated machines, switched on at once, against `hooksmith serve`:
# each DHCP through a relay, 1 MB by TFTP, its script and 100 MB by HTTP.
# Prints failures, times, and the server's peak memory. Needs root (namespaces).
# HKS_STORM_MACHINES (1000), HKS_STORM_PARALLEL (100), HKS_STORM_MB (100).
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh ip=iproute2 curl=curl
bin=${HKS_STORM_BIN:-bin/hooksmith}
HKS_STORM_BIN=$(realpath "$bin") go test -count=1 -timeout 60m -run '^TestStorm$' -v ./serve/internal/storm |
	grep -E 'storm|FAIL|ok|---'
