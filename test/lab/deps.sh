#!/bin/sh
# Install the Debian packages that the lab needs on the building machine, and
# only those that are missing. Needs root. It can be run again at any time.
set -eu

packages="
	qemu-system-x86 qemu-utils seabios
	mmdebstrap debian-archive-keyring
	lvm2 thin-provisioning-tools
	gdisk e2fsprogs xfsprogs squashfs-tools
	mount tar rpm
	git rsync time dnf python3-dnf libcap2-bin binutils passwd
"

missing=
for p in $packages; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true) in
	installed) ;;
	*) missing="$missing $p" ;;
	esac
done
if [ -z "$missing" ]; then
	echo "deps: nothing missing"
	exit 0
fi
echo "deps: installing$missing"
apt-get update -qq
# shellcheck disable=SC2086 # one word a package
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
