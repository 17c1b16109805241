#!/bin/sh
# image.sh [PACKAGE...]: make the virtual machine of these tests, unless it is there: a Debian with
# systemd, cgroup v2 and AppArmor, of Debian's packages alone.  Prints its folder, which holds root.img,
# vmlinuz and initrd.  Kept, by what it is made of, in ${XDG_CACHE_HOME:-~/.cache}/crisp-test.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
suite=bookworm
packages="systemd systemd-sysv dbus udev kmod linux-image-cloud-amd64 apparmor sudo
	e2fsprogs util-linux mount ca-certificates
	libev4 libyajl2 libyaml-0-2 libcap-ng0 libnghttp2-14 libprotobuf-c1 libcurl4 libisal2 libmnl0
	libnftables1 libzstd1 zlib1g libssl3 libseccomp2 libwslay1
	iproute2 nftables iptables conntrack ethtool socat containernetworking-plugins
	$(sed -n '/^test golang/d; s/^\(quickstart\|test\) \([^ ]*\).*/\2/p' "$here/../../tools/packages" | tr '\n' ' ')"	# Go's programs come from the host

key=$({ cat "$0" && echo "$packages"; } | sha256sum | cut -c1-12)
image=${XDG_CACHE_HOME:-$HOME/.cache}/crisp-test/vm-$suite-$key
if [ ! -e "$image/done" ]; then
	rm -rf "$image" && mkdir -p "$image/root"
	# shellcheck disable=SC2086 # a list
	{
		nice -n 10 mmdebstrap --variant=minbase --format=tar \
			--include="$(echo $packages | tr ' ' ',')" "$suite" "$image/root.tar"
		tar -C "$image/root" -xf "$image/root.tar" --exclude='./dev/*'
		cp "$image"/root/boot/vmlinuz-* "$image/vmlinuz"
		cp "$image"/root/boot/initrd.img-* "$image/initrd"
		root=$image/root

		# /job, which comes on a drive of its own for each run, says what to do; what it prints
		# goes to the second serial line, beside the kernel's and systemd's words.
		cat >"$root/etc/systemd/system/job.service" <<-U
			[Unit]
			After=multi-user.target dbus.service apparmor.service
			Wants=dbus.service
			[Service]
			Type=oneshot
			ExecStartPre=/bin/mkdir -p /job
			ExecStartPre=/bin/mount /dev/vdb /job
			ExecStart=/job/run
			ExecStopPost=/bin/sh -c 'echo "JOB-EXIT \$\$EXIT_STATUS"'
			ExecStopPost=/bin/systemctl poweroff --no-block --force
			StandardOutput=file:/dev/ttyS1
			StandardError=inherit
			Delegate=yes
			TimeoutStartSec=infinity
			LimitNOFILE=65536
			Environment=HOME=/root LANG=C.UTF-8
			[Install]
			WantedBy=graphical.target
		U
		chroot "$root" systemctl -q enable job.service
		chroot "$root" systemctl -q set-default graphical.target
		chroot "$root" systemctl -q mask serial-getty@ttyS0.service getty@tty1.service \
			systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
			e2scrub_all.timer fstrim.timer systemd-networkd-wait-online.service
		echo crisp-vm >"$root/etc/hostname"
		printf '127.0.0.1 localhost crisp-vm\n' >"$root/etc/hosts"
		printf 'nameserver 127.0.0.1\n' >"$root/etc/resolv.conf"
		printf '/dev/vda / ext4 rw,noatime 0 1\n' >"$root/etc/fstab"
		rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/*
		mke2fs -q -t ext4 -d "$root" "$image/root.img" 4G
		rm -rf "$root" "$image/root.tar"
		: >"$image/done"
	} >"$image.log" 2>&1 || { tail -n 5 "$image.log" >&2; exit 1; }
fi
echo "$image"
