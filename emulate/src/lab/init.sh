#!/bin/busybox sh
# First program of the lab VM: loads drivers, puts a writable layer over the
# read-only system, and runs the job that came with the kernel.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
for module in /modules/*; do $b insmod "$module"; done
until [ -e /dev/pmem0 ]; do $b usleep 1000; done
$b mount -t erofs -o ro /dev/pmem0 /ro || { echo "the lab's system cannot be mounted"; $b poweroff -f; }
$b mount -t tmpfs -o mode=755 tmpfs /rw
$b mkdir -p /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /mnt
$b mkdir -p /mnt/dev /mnt/proc /mnt/sys /mnt/run /mnt/root /mnt/tmp
$b mv /job /mnt/job
for tree in dev proc sys; do $b mount --move /$tree /mnt/$tree; done
exec $b switch_root /mnt /bin/busybox sh /job/start
