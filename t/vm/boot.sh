#!/bin/sh
# boot.sh FOLDER [SIZE]: boot the machine with FOLDER as its /job, in which `run` is
# what it runs; prints what that prints.  The exit code is run's; the machine and all its changes are
# gone after it, but for what it printed.  CONSOLE=FILE: the kernel's and systemd's words.
# Emulated: some ten times slower than the host.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
job=$1 size=${2:-1500M}
image=${VM_IMAGE:-$("$here/image.sh")}
work=$(mktemp -d /tmp/crisp-vm.XXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mke2fs -q -t ext4 -d "$job" "$work/job.img" "$size" >/dev/null
mkfifo "$work/out.in" "$work/out.out"
timeout -k 10 "${VM_TIMEOUT:-5400}" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 4096 \
	-kernel "$image/vmlinuz" -initrd "$image/initrd" \
	-append 'root=/dev/vda rw console=ttyS0 quiet apparmor=1 security=apparmor systemd.show_status=0' \
	-drive "file=$image/root.img,if=virtio,format=raw,snapshot=on" \
	-drive "file=$work/job.img,if=virtio,format=raw,cache=unsafe" \
	-display none -monitor none -serial "file:${CONSOLE:-$work/console}" -serial "pipe:$work/out" \
	-no-reboot -net none </dev/null >"$work/qemu.log" 2>&1 &
qemu=$!
trap 'kill $qemu 2>/dev/null; exit 1' INT TERM
sed -u 's,\r$,,' <"$work/out.out" | tee "$work/out.text" | sed -u '/^JOB-EXIT /d'
wait $qemu || { echo "the machine ended with $?"; tail -n 5 "$work/qemu.log"; }
code=$(sed -n 's/^JOB-EXIT //p' "$work/out.text")
[ -n "$code" ] || { echo "the machine ended without a word of the job's end"; exit 1; }
exit "$code"
