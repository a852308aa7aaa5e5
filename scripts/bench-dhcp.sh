#!/usr/bin/env bash
# DHCP exchanges (DISCOVER to ACK) per second of `hooksmith serve`, beside kea's, by perfdhcp in network namespaces, with the
# CPU time of the server for each. Both are as they come: hooksmith with log, timeline and metrics, kea with Debian's lease
# file and log level and with both cores (HKS_DHCP_LOGS=warn: neither logs leases). Both write to the same disk; kea's
# memfile does not wait for it, ours does. Runs alternate; the last lines are the means and the ratio.
# HKS_DHCP_ROUNDS, HKS_DHCP_SECONDS (of each run), HKS_DHCP_RATES (exchanges per second that are asked for; the best that is
# served counts), HKS_DHCP_BIN, HKS_DHCP_SERVERS (kea hooksmith).
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${HKS_DHCP_ROUNDS:-3} seconds=${HKS_DHCP_SECONDS:-5} rates=${HKS_DHCP_RATES:-4000 8000 12000 16000 20000}
bin=$(realpath "${HKS_DHCP_BIN:-bin/hooksmith}") servers=${HKS_DHCP_SERVERS:-kea hooksmith} logs=${HKS_DHCP_LOGS:-info} clients=20000
for program in perfdhcp kea-dhcp4 ip "$bin"; do
	command -v "$program" >/dev/null || { echo "bench-dhcp: $program is not there (kea-admin, kea-dhcp4-server, iproute2, make build)" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "bench-dhcp: network namespaces need root" >&2; exit 1; }

dir=$(mktemp -d "${TMPDIR:-/var/tmp}/bench-dhcp.XXXXXX")
server=hksbench$$s client=hksbench$$c running=
stop() {
	[ -z "$running" ] || { kill "$running" 2>/dev/null; wait "$running" 2>/dev/null || true; }
	running=
}
cleanup() {
	stop
	ip netns del "$server" 2>/dev/null || true
	ip netns del "$client" 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

ip netns add "$server"
ip netns add "$client"
ip -n "$server" link add hks0 type veth peer name hks1 netns "$client"
ip -n "$server" addr add 10.94.0.1/16 dev hks0
ip -n "$client" addr add 10.94.0.2/16 dev hks1
for ns in "$server" "$client"; do ip -n "$ns" link set lo up; done
ip -n "$server" link set hks0 up
ip -n "$client" link set hks1 up

mkdir "$dir/ipxe"
echo "no client of this test loads it" >"$dir/ipxe/undionly.kpxe"
cat >"$dir/kea.json" <<JSON
{"Dhcp4": {
  "interfaces-config": {"interfaces": ["hks0"], "dhcp-socket-type": "udp"},
  "lease-database": {"type": "memfile", "persist": true, "name": "$dir/kea-leases.csv", "lfc-interval": 3600},
  "valid-lifetime": 3600,
  "multi-threading": {"enable-multi-threading": true, "thread-pool-size": 2, "packet-queue-size": 64},
  "subnet4": [{"id": 1, "subnet": "10.94.0.0/16", "pools": [{"pool": "10.94.16.0 - 10.94.255.200"}]}],
  "loggers": [{"name": "kea-dhcp4", "output_options": [{"output": "stdout", "pattern": "%-5p %m\n"}], "severity": "${logs^^}", "debuglevel": 0}]
}}
JSON

start_kea() {
	rm -f "$dir"/kea-leases*
	KEA_PIDFILE_DIR=$dir KEA_LOCKFILE_DIR=none ip netns exec "$server" kea-dhcp4 -c "$dir/kea.json" >"$dir/kea.log" 2>&1 &
	running=$!
}

start_hooksmith() {
	rm -rf "$dir/state"
	ip netns exec "$server" "$bin" serve --config /dev/null --log-level "$logs" --interface hks0 --dhcp-mode pool \
		--pool 10.94.16.0-10.94.255.200 --lease-time 1h --ipxe-dir "$dir/ipxe" --state "$dir/state" >"$dir/hooksmith.log" 2>&1 &
	running=$!
}

bound() { ip netns exec "$server" ss -Hlun 'sport = :67' | grep -q .; }

# used: hundredths of a second of CPU time of the server so far
used() { sed 's/.*) //' "/proc/$running/stat" | awk '{print $12 + $13}'; }

# exchanges RATE: how many were completed
exchanges() {
	# Its receive buffer holds some 250 packets: it goes first, or it loses answers that the server has given. Its status says
	# that some were lost, which is what is measured.
	nice -n -15 ip netns exec "$client" perfdhcp -4 -l 10.94.0.2 -r "$1" -R "$clients" -p "$seconds" -b mac=02:0a:00:00:00:00 \
		10.94.0.1 >"$dir/perf.log" 2>&1 || true
	awk '/^\*\*\*Statistics for: REQUEST-ACK/ {on=1} on && /^received packets:/ {print $3; exit}' "$dir/perf.log"
}

# measure NAME: the most of all rates, and the least CPU time for an exchange
measure() {
	local best=0 least=0 n cpu before
	for rate in $rates; do
		"start_$1"
		for _ in $(seq 300); do bound && break; sleep 0.1; done
		bound || { echo "bench-dhcp: $1 does not start:" >&2; tail -5 "$dir/$1.log" >&2; exit 1; }
		before=$(used)
		n=$(exchanges "$rate")
		cpu=$((($(used) - before) * 10000 / (${n:-0} > 0 ? n : 1)))
		stop
		n=$((${n:-0} / seconds))
		printf '  %-9s asked %6d/s, served %6d/s, %4d us of CPU each\n' "$1" "$rate" "$n" "$cpu" >&2
		[ "$n" -le "$best" ] || { best=$n; least=$cpu; }
	done
	echo "$best $least"
}

for round in $(seq "$rounds"); do
	for name in $servers; do
		read -r n cpu < <(measure "$name")
		printf 'round %d: %s %d/s, %d us of CPU each\n' "$round" "$name" "$n" "$cpu"
		echo "$name $n $cpu" >>"$dir/rounds"
	done
done
awk '{n[$1] += $2; cpu[$1] += $3; of[$1]++}
	END {
		for (name in n) printf "DHCP exchanges: %s %d/s, %d us of CPU each\n", name, n[name] / of[name], cpu[name] / of[name]
		if (n["kea"] && n["hooksmith"]) printf "DHCP exchanges: hooksmith with leases synced to the disk %.2f times kea\n", n["hooksmith"] / n["kea"]
	}' "$dir/rounds"
