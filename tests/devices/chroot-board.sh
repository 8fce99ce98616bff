#!/bin/sh
# Process 1 of an emulated board, in mount, process, host name and IPC namespaces of its own.
#
#   chroot-board.sh LAYERS FILES HOME_SIZE PYTHON
#
# LAYERS     overlay layers of the board's root, the uppermost first, joined by ":"
# FILES      the directory with the board's cpuinfo, user database and authorized_keys
# HOME_SIZE  size of a small file system for /home/pi, as mount takes it; "" for none
# PYTHON     the Python of this machine, for a little program
#
# When its standard input closes, process 1 ends: the kernel then kills whatever still runs here
# and drops the mounts. So nothing remains of a board, however the tests end.
set -eu
layers=$1 files=$2 home_size=$3 python=$4
root=/run/device/root
umask 022

# A fresh /run: sshd accepts only a root below directories that nobody else can write to, and the
# machine's own name services must not be asked about the board's users.
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/sshd /run/device/upper /run/device/work "$root"
mount -t overlay -o "lowerdir=$layers,upperdir=/run/device/upper,workdir=/run/device/work" \
  root "$root"

mount -t proc proc "$root/proc"
# The runtimes crash on an x86 cpuinfo: qemu shows them the machine's own one.
mount --bind "$files/cpuinfo" "$root/proc/cpuinfo"

mount -t tmpfs -o mode=755 dev "$root/dev"
for node in null zero full random urandom tty; do
  : >"$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir -m 1777 "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"

mkdir -p "$root/home/pi"
if [ -n "$home_size" ]; then
  mount -t tmpfs -o "size=$home_size" home "$root/home/pi"
fi
chmod 755 "$root/home/pi"
chown 1000:1000 "$root/home/pi"

# The sshd outside the root must know the board's user, too.
for database in passwd group shadow; do
  cp -p "$files/$database" "$root/etc/$database"
  mount --bind "$files/$database" "/etc/$database"
done
# It reads the user's keys as that user, who can't enter FILES.
install -m 644 "$files/authorized_keys" /run/device/authorized_keys
hostname raspberrypi

# Orphans that end here vanish at once instead of staying as zombies.
exec "$python" -I -S -c '
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.read()
'
