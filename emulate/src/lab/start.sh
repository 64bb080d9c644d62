# Second program of the lab VM: devices and names that programs expect, then
# the job. What the job prints goes out through the port `watari.record`.
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
b=/bin/busybox
$b mkdir -p /dev/pts /dev/shm /usr/local/bin /run/sshd /var/lib /dev/net
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs tmpfs /dev/shm
$b mount -t tmpfs tmpfs /run && $b mkdir -p /run/sshd
$b ln -sfn /run /var/run
$b ln -sfn /proc/self/fd /dev/fd
for port in /sys/class/virtio-ports/*; do
    read -r name < "$port/name"
    [ "$name" = watari.record ] && record=/dev/${port##*/}
done
printf '#!/bin/busybox sh\nexec /job/loader --library-path /job/lib /job/watari "$@"\n' > /usr/local/bin/watari
$b chmod 755 /usr/local/bin/watari
# udev would load what the processor can do; without these the kernel encrypts
# with its generic programs, and the lab's one processor is the bottleneck.
for module in aesni_intel ghash_clmulni_intel sha1_ssse3 sha256_ssse3 chacha_x86_64 poly1305_x86_64; do
    modprobe -q "$module"
done
for module in sch_netem esp4 xfrm_user veth tun bridge virtio_net; do modprobe "$module"; done
$b ip link set lo up
$b hostname lab
exec < /dev/null > "$record" 2> /dev/console
. /job/command
$b sync
exec $b poweroff -f
