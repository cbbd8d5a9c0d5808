# Read by sh -s in new namespaces (confine.go), as the first process of them.
# Arguments: root, then name and directory of each share, "--", the program.
set -eu
umask 022
root=$1
shift

# Read-only: a script that sets a kernel parameter would set the host's.
mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"

# No block devices: what runs here finds no disk to write to.
mount -t tmpfs -o mode=0755,nosuid,noexec tmpfs "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/full" c 1 7
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
mknod -m 666 "$root/dev/tty" c 5 0
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mkdir -m 1777 "$root/dev/shm" "$root/run/lock"

mkdir "$root/run/imgbase"
while [ "$1" != -- ]; do
	mkdir "$root/run/imgbase/$1"
	mount --bind "$2" "$root/run/imgbase/$1"
	mount -o remount,bind,ro,nosuid,nodev "$root/run/imgbase/$1"
	shift 2
done
shift

exec chroot "$root" "$@" </dev/null
