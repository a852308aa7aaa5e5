#!/usr/bin/env bash
# HTTP downloads from hooksmith serve's web server beside Debian's nginx, in
# turns, in one run over loopback: MB/s, CPU seconds of the server per GB, and
# the ratios, for 1 and for 64 clients.
# HKS_WEB_MB is the file's size (300), HKS_WEB_ROUNDS the turns (3).
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh nginx=nginx-light
HKS_WEB_BENCH=1 go test -count=1 -timeout 30m -run '^TestBench$' -v ./serve/web |
	grep -E 'clients|FAIL|ok|---|_test'
