# Read by sh in a room (initramfs.go), in a tree with initramfs-tools.
# Arguments: the directory to work in, the kernel's version, the types of the
# file systems that are checked at boot.
set -eu
work=$1 kernel=$2 types=$3

mkdir "$work/conf"
cp -a /etc/initramfs-tools/. "$work/conf/"
mkdir -p "$work/conf/conf.d"
# Neither the disk that root is on nor its file system can be seen here: take
# the drivers of all, and the fsck of what fstab says. These lines are read
# again at boot, which does not mind.
cat >"$work/conf/conf.d/zz-imgbase" <<-CONF
	case "\${MODULES:-}" in dep) MODULES=most ;; esac
	case "\${FSTYPE:-auto}" in auto) FSTYPE=${types:-auto} ;; esac
CONF
if [ -e "$work/crypttab" ]; then
	# In this mount namespace alone.
	mount --bind "$work/crypttab" /etc/crypttab
fi
export TMPDIR="$work"
exec mkinitramfs -d "$work/conf" -o "$work/initramfs" "$kernel"
