#!/bin/sh
# Process 1 of an emulated phone, in mount, process, host name, IPC and network namespaces of
# its own.
#
#   adbd-machine.sh ROOT FILES DATA_SIZE PYTHON
#
# ROOT       the phone's root, which is not written to
# FILES      the directory with the phone's own files (phone/) and its cpuinfo
# DATA_SIZE  size of the file system on /data, as mount takes it
# PYTHON     the Python of this machine, for a little program
#
# When its standard input closes, process 1 ends: the kernel then kills whatever still runs here
# and drops the mounts and the network link. So nothing remains of a phone, however the tests end.
set -eu
below=$1 files=$2 data_size=$3 python=$4
root=/run/device/root
umask 022

mount -t tmpfs -o mode=755 run /run
mkdir -p /run/device/upper /run/device/work "$root"
mount -t overlay -o "lowerdir=$files/phone:$below,upperdir=/run/device/upper,workdir=/run/device/work" \
  root "$root"

mount -t proc proc "$root/proc"
# The runtimes crash on an x86 cpuinfo: qemu shows them the machine's own one.
mount --bind "$files/cpuinfo" "$root/proc/cpuinfo"

mount -t tmpfs -o mode=755 dev "$root/dev"
for node in null zero full random urandom tty; do
  : >"$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"

# What the shell's user may write to is one directory.
mount -t tmpfs -o "mode=771,size=$data_size" data "$root/data"
mkdir -m 751 "$root/data/local"
mkdir -m 771 "$root/data/local/tmp"
chown 2000:2000 "$root/data/local/tmp"
mount -t tmpfs -o mode=755,ro vendor "$root/vendor"
hostname localhost

# Orphans that end here vanish at once instead of staying as zombies.
exec "$python" -I -S -c '
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.read()
'
