#!/usr/bin/env bash
# Measures embedding three images (about 35, 78 and 196 MB) from an OCI layout
# into the finished segments of an initramfs, beside the way of upstream's
# pull-images.sh: docker load into a second dockerd, docker tag, cp -a of its
# folder, then cpio and zstd. Both in turn, three times, because the ratio is
# what counts. Needs root, Docker, cpio and zstd.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/out/bench-embed
daemon=""
stop() { # ends the second dockerd, whose folder then can be removed
	if [[ -n $daemon ]]; then
		kill "$daemon" 2>/dev/null || true
		wait "$daemon" 2>/dev/null || true
		daemon=""
	fi
}
trap stop EXIT
rm -rf "$work"
mkdir -p "$work"
echo "making the images from Debian packages" >&2
HOOKSMITH_BENCH_EMBED_LAYOUT=$work go test -count=1 -run '^TestWriteBenchEmbed$' ./build >&2
go test -c -o "$work/bench.test" ./build
images=(small middle large)

# The second dockerd, as docker:dind runs it; its start is not counted.
socket=unix://$work/docker.sock
start() {
	stop
	rm -rf "$work/dind" "$work/store" "$work/store.img"
	dockerd --data-root "$work/dind" --exec-root "$work/exec" -H "$socket" --pidfile "$work/pid" --storage-driver=overlay2 \
		--bridge=none --iptables=false --ip6tables=false >"$work/dockerd.log" 2>&1 &
	daemon=$!
	until docker -H "$socket" version >/dev/null 2>&1; do
		kill -0 "$daemon" || { cat "$work/dockerd.log" >&2; exit 1; }
		sleep 0.1
	done
}
cat >"$work/dind.sh" <<'DIND'
set -euo pipefail
cd "$1"
for image in $3; do
	docker -H "$2" load -q -i "$image.tar"
	docker -H "$2" tag "example.org/bench/$image:1" "127.0.0.1/embedded/$image"
	docker -H "$2" rmi "example.org/bench/$image:1"
done
cp -a dind store
cd store
find . | cpio -o -H newc --quiet | zstd -9 -T0 -q -f -o ../store.img
DIND

measure() { # measure NAME COMMAND...
	local name=$1
	shift
	if ! /usr/bin/time -o "$work/usage" -f '%e %M %U %S' "$@" >"$work/log" 2>&1; then
		cat "$work/log" >&2
		exit 1
	fi
	read -r wall rss user system <"$work/usage"
	printf '%-28s %7s s  %5d MB peak  %s+%s s CPU\n' "$name" "$wall" "$((rss / 1024))" "$user" "$system"
}
ratio() { awk -v a="$dind" -v b="$wall" 'BEGIN { printf "  %.1f times faster\n", a / b }'; }
embed() { # embed NAME IMAGE...
	local name=$1
	shift
	# The limit is hooksmith's own (cmd/hooksmith/main.go).
	GOMEMLIMIT=256MiB HOOKSMITH_BENCH_EMBED=$work HOOKSMITH_BENCH_EMBED_IMAGES="$*" measure "$name" "$work/bench.test" -test.run '^TestBenchEmbed$'
}

uptime
for run in 1 2 3; do
	start
	measure "Docker-in-Docker $run" bash "$work/dind.sh" "$work" "$socket" "${images[*]}"
	dind=$wall
	rm -rf "$work/cache" "$work/embed.img" # as store.img: to overwrite a file, ext4 waits for the disk
	embed "embed, empty cache $run" "${images[@]}"
	ratio
	size=$(stat -c %s "$work/embed.img")
	embed "one image more $run" "${images[@]}" fourth
	ratio
	embed "nothing changed $run" "${images[@]}" fourth
done
stop
uptime

# The same store as one stream, for the size.
HOOKSMITH_BENCH_EMBED_PLAIN=1 embed "plain, for the size" "${images[@]}"
whole=$(zstd -9 -q -c "$work/embed.cpio" | wc -c)
awk -v a="$size" -v b="$whole" -v c="$(stat -c %s "$work/store.img")" \
	'BEGIN { printf "segments %d bytes, zstd -9 of the same store %d (%+.1f %%), of the copied one %d\n", a, b, (a / b - 1) * 100, c }'
