#!/bin/bash
# Runs a package's tests on an emulated processor with AVX-512, for machines that have
# none: Bochs boots a Linux kernel whose first program is the test binary.
#
#   scripts/emulate_avx512.sh [-o DIR] PACKAGE [TEST FLAGS...]
#   scripts/emulate_avx512.sh ./compute/cpu -test.v -test.short -test.run Widths
#
# Everything it makes lies in DIR (default: a new directory under /tmp); the guest's
# output goes to DIR/serial.txt and to the terminal. The exit status is the tests'.
# Expect a minute to boot and some hundred times the time of the real machine after.
# Debian packages: bochs bochs-term bochsbios vgabios grub-pc-bin grub-common xorriso
# mtools busybox-static cpio; the kernel is downloaded, not installed.
set -euo pipefail

dir=
while getopts o: flag; do
	case $flag in
	o) dir=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
package=${1:?which package? e.g. ./compute/cpu}
shift
dir=$(realpath "${dir:-$(mktemp -d)}")
root=$dir/root iso=$dir/iso
rm -rf "$root" "$iso" "$dir"/serial.txt "$dir"/*.lock
mkdir -p "$root"/{bin,proc,sys,dev,tmp} "$iso/boot/grub"

if ! compgen -G "$dir/kernel/boot/vmlinuz-*" >/dev/null; then
	name=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
	(cd "$dir" && apt-get download "$name" && dpkg-deb -x "$name"_*.deb kernel)
fi
cp "$dir"/kernel/boot/vmlinuz-* "$iso/boot/vmlinuz"

CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go test -c -ldflags '-s -w' -o "$root/test" "$package"
cp "$(command -v busybox)" "$root/bin/busybox"
flags=$(printf '%q ' "$@")
cat >"$root/init" <<EOF
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t proc proc /proc
\$b mount -t devtmpfs dev /dev
\$b mount -t tmpfs tmp /tmp
\$b grep -m1 'model name' /proc/cpuinfo
\$b grep -m1 -o 'avx512.*' /proc/cpuinfo
/test $flags
echo "tests ended: \$?"
\$b sleep 3 # until the serial line has sent everything
\$b poweroff -f
EOF
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$iso/boot/initrd"

# The emulator's report of XSAVEC's area does not satisfy Linux: 321 and 323 are that
# feature and XSAVES.
cat >"$iso/boot/grub/grub.cfg" <<'EOF'
set timeout=0
menuentry tests {
	linux /boot/vmlinuz console=ttyS0,115200 quiet panic=-1 mitigations=off clearcpuid=321,323 nopku tsc=reliable
	initrd /boot/initrd
}
EOF
grub-mkrescue -o "$dir/boot.iso" "$iso" 2>/dev/null

cat >"$dir/bochsrc" <<EOF
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
megs: 768
cpu: model=corei7_skylake_x, count=1, ips=40000000, reset_on_triple_fault=0
clock: sync=none
ata0: enabled=1
ata0-master: type=cdrom, path=$dir/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$dir/serial.txt
log: $dir/bochs.log
panic: action=fatal
EOF
echo c >"$dir/continue" # Debian's Bochs starts in its debugger
touch "$dir/serial.txt"
tail -n +1 -f "$dir/serial.txt" &
follow=$!
trap 'kill $follow' EXIT
TERM=xterm nice -n 19 script -qec "bochs -q -f $dir/bochsrc -rc $dir/continue" "$dir/screen.txt" </dev/null >/dev/null || true
sleep 1
grep -aq '^tests ended: 0' "$dir/serial.txt"
