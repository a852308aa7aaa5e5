#!/usr/bin/env bash
# Installs Debian packages for what is missing: install.sh THING=PACKAGE...
# THING is a command's name or an absolute path. Does nothing if all is there.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin # where a plain user has no look

missing=()
for pair in "$@"; do
	thing=${pair%%=*} package=${pair#*=}
	case $thing in
	/*) [[ -e $thing ]] && continue ;;
	*) command -v "$thing" >/dev/null && continue ;;
	esac
	missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if ! command -v apt-get >/dev/null; then
	echo "error: please install what Debian has in: ${missing[*]}" >&2
	exit 1
fi
as_root=()
if [[ $(id -u) -ne 0 ]]; then
	if ! command -v sudo >/dev/null; then
		echo "error: please run as root: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt=(env "DEBIAN_FRONTEND=$DEBIAN_FRONTEND" apt-get -q -o DPkg::Lock::Timeout=300)
"${as_root[@]}" "${apt[@]}" update >&2
"${as_root[@]}" "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2
