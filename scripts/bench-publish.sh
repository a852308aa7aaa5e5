#!/usr/bin/env bash
# Measures hooksmith publish to a folder beside cp and sha512sum, and to an S3
# server (versitygw over a folder) beside rclone copy, alternating, in one run.
# Publish also reads everything back, and switches names.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/out/bench-publish
gateway=""
stop() {
	if [[ -n $gateway ]]; then
		kill "$gateway" 2>/dev/null || true
		wait "$gateway" 2>/dev/null || true
	fi
}
trap stop EXIT
rm -rf "$work"
mkdir -p "$work/s3/hook" "$work/side" "$work/bin"
GOFLAGS='' GOBIN=$work/bin go install github.com/versity/versitygw/cmd/versitygw@v1.8.0

# A set of HookOS's size that nothing can compress.
set=$work/set
mkdir "$set"
head -c $((${BENCH_MB:-160} << 20)) /dev/urandom >"$set/initramfs-x86_64"
head -c $((12 << 20)) /dev/urandom >"$set/vmlinuz-x86_64"
describe() { # describe FILE ROLE
	printf '{"name":"%s","role":"%s","arch":"x86_64","size":%d,"sha256":"%s","sha512":"%s"}' "$1" "$2" "$(stat -c %s "$set/$1")" \
		"$(sha256sum <"$set/$1" | cut -d' ' -f1)" "$(sha512sum <"$set/$1" | cut -d' ' -f1)"
}
printf '{"schema":1,"builds":[{"flavor":"bench","arch":"x86_64","artifacts":[%s,%s]}]}\n' \
	"$(describe initramfs-x86_64 initramfs)" "$(describe vmlinuz-x86_64 kernel)" >"$set/hook.json"

port=$((20000 + RANDOM % 20000))
unset AWS_CA_BUNDLE # rclone does not know it
export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=benchsecret AWS_REGION=us-east-1
"$work/bin/versitygw" --access bench --secret benchsecret --port "127.0.0.1:$port" --quiet posix --sidecar "$work/side" "$work/s3" >"$work/gateway.log" 2>&1 &
gateway=$!
until (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
	kill -0 "$gateway" || { cat "$work/gateway.log" >&2; exit 1; }
	sleep 0.1
done

measure() { # measure NAME COMMAND...
	local name=$1
	shift
	if ! /usr/bin/time -o "$work/usage" -f '%e %M %U %S' "$@" >"$work/log" 2>&1; then
		cat "$work/log" >&2
		exit 1
	fi
	read -r wall rss user system <"$work/usage"
	printf '%-26s %7s s  %5d MB peak  %s+%s s CPU\n' "$name" "$wall" "$((rss / 1024))" "$user" "$system"
}
ratio() { awk -v a="$1" -v b="$wall" 'BEGIN { printf "  %.2f times the rate\n", a / b }'; }

cat >"$work/copy.sh" <<'COPY'
set -euo pipefail
cp -r "$1" "$2"
cd "$2"
sha512sum ./*
COPY
cat >"$work/copysync.sh" <<'COPY'
set -euo pipefail
cp -r "$1" "$2"
cd "$2"
sync ./*
sha512sum ./*
COPY
rclone=(rclone --config /dev/null --s3-provider Other --s3-env-auth --s3-endpoint "http://127.0.0.1:$port" --s3-force-path-style)
uptime
for run in 1 2 3; do
	rm -rf "$work/copy" "$work/copysync" "$work/www"
	measure "cp, sha512sum $run" bash "$work/copy.sh" "$set" "$work/copy"
	plain=$wall
	measure "cp, sync, sha512sum $run" bash "$work/copysync.sh" "$set" "$work/copysync"
	synced=$wall
	measure "publish folder $run" "${HOOKSMITH:-bin/hooksmith}" publish "$work/www" --from "$set" --no-check
	ratio "$plain"
	ratio "$synced"
	measure "publish folder again $run" "${HOOKSMITH:-bin/hooksmith}" publish "$work/www" --from "$set" --no-check
	rm -rf "$work/s3/hook"/*
	measure "rclone copy $run" "${rclone[@]}" copy "$set" ":s3:hook/rclone"
	copied=$wall
	measure "publish s3 $run" "${HOOKSMITH:-bin/hooksmith}" publish "s3://hook/boot?endpoint=http://127.0.0.1:$port" --from "$set" --no-check
	ratio "$copied"
done
uptime
