#!/bin/sh
# critest-images.sh REGISTRY BUSYBOX: make the images that critest names, and push them to REGISTRY
# (HOST:PORT, plain HTTP) under the paths that they have upstream.  What each must contain is what
# the specs look at; all are made here of busybox, Debian's nginx and a few lines of C.
set -eu
registry=$1 busybox=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# layer NAME: pack $work/NAME as a layer, root's.
layer() {
	tar -C "$work/$1" --numeric-owner --owner=0 --group=0 --mtime=@0 --sort=name -cf "$work/$1.tar" .
}

# image NAME CONFIG LAYER...: a docker archive in $work/NAME.img; CONFIG is the JSON of "config".
image() {
	name=$1 config=$2 ids='' files=''
	shift 2
	dir=$(mktemp -d "$work/img.XXXX")
	for l in "$@"; do
		cp "$work/$l.tar" "$dir/$l.tar"
		ids="$ids${ids:+,}\"sha256:$(sha256sum "$work/$l.tar" | cut -d' ' -f1)\""
		files="$files${files:+,}\"$l.tar\""
	done
	printf '{"architecture":"amd64","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}' \
		"$config" "$ids" > "$dir/config.json"
	printf '[{"Config":"config.json","Layers":[%s]}]' "$files" > "$dir/manifest.json"
	tar -C "$dir" -cf "$work/$name.img" .
	rm -rf "$dir"
}

# push NAME PATH:TAG...
push() {
	name=$1
	shift
	for to in "$@"; do
		skopeo copy -q --insecure-policy --dest-tls-verify=false "docker-archive:$work/$name.img" \
			"docker://$registry/$to"
	done
}

# -- layers --

mkdir -p "$work/box/bin" "$work/box/etc" "$work/box/tmp" "$work/box/root" "$work/box/www"
chmod 1777 "$work/box/tmp"
cp "$busybox" "$work/box/bin/busybox"
"$busybox" --list | while read -r applet; do
	[ "$applet" = busybox ] || ln -f "$work/box/bin/busybox" "$work/box/bin/$applet"
done
cat > "$work/box/etc/passwd" <<'X'
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
X
printf 'root:x:0:\nwww-data:x:33:\nnobody:x:65534:\n' > "$work/box/etc/group"
echo ok > "$work/box/www/index.html"
layer box

mkdir -p "$work/groups/etc"
printf 'root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/:/bin/sh\n' > "$work/groups/etc/passwd"
printf 'root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n' > "$work/groups/etc/group"
layer groups

mkdir -p "$work/nnp/bin"
cat > "$work/nnp.c" <<'X'
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("Effective uid: %d\n", geteuid()); return 0; }
X
cc -static -Os -o "$work/nnp/nnp" "$work/nnp.c"
chmod 4755 "$work/nnp/nnp"
layer nnp

mkdir -p "$work/pause"
cat > "$work/pause.c" <<'X'
#include <unistd.h>
int main(void) { for (;;) pause(); }
X
cc -static -Os -o "$work/pause/pause" "$work/pause.c"
layer pause

mkdir -p "$work/nginx" "$work/debs"
(cd "$work/debs" && apt-get -q download nginx nginx-common libc6 libcrypt1 libpcre2-8-0 libssl3 zlib1g >/dev/null)
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/nginx"; done
rm -rf "$work/nginx/usr/share/doc" "$work/nginx/usr/share/man" "$work/nginx/etc/nginx/sites-enabled" "$work/nginx/etc/nginx/modules-enabled"
mkdir -p "$work/nginx/var/run" "$work/nginx/var/log/nginx" "$work/nginx/var/lib/nginx" "$work/nginx/etc/nginx/sites-enabled" "$work/nginx/var/www/html"
cat > "$work/nginx/etc/nginx/nginx.conf" <<'X'
user root;
worker_processes 1;
pid /var/run/nginx.pid;
events { worker_connections 64; }
http { server { listen 80; location / { root /www; index index.html; } } }
X
layer nginx

for n in 1 2 3 tag tags all latest digest; do
	mkdir -p "$work/mark-$n"
	echo "$n" > "$work/mark-$n/marker-$n"
	layer "mark-$n"
done

# -- images --

env='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
image busybox "{$env,\"Cmd\":[\"sh\"]}" box
push busybox e2e-test-images/busybox:1.29-2
image nginx "{$env,\"Cmd\":[\"nginx\",\"-g\",\"daemon off;\"]}" box nginx
push nginx e2e-test-images/nginx:1.14-2
image httpd "{$env,\"Cmd\":[\"sh\",\"-c\",\"echo httpd is up; exec httpd -f -p 80 -h /www\"]}" box
push httpd e2e-test-images/httpd:2.4.39-4
image nnp "{$env,\"Entrypoint\":[\"/nnp\"]}" box nnp
push nnp e2e-test-images/nonewprivs:1.3
image hostnet "{$env,\"Cmd\":[\"httpd\",\"-f\",\"-p\",\"12003\",\"-h\",\"/www\"]}" box
push hostnet k8s-staging-cri-tools/hostnet-nginx-amd64:latest
image groups "{$env,\"User\":\"1000\",\"Cmd\":[\"sh\"]}" box groups
push groups k8s-staging-cri-tools/test-image-predefined-group:latest
for user in uid=1002 username=www-data uid-group=1003:1004 username-group=www-data:1004; do
	image "user-${user%%=*}" "{$env,\"User\":\"${user#*=}\",\"Cmd\":[\"sh\"]}" box
	push "user-${user%%=*}" "k8s-staging-cri-tools/test-image-user-${user%%=*}:latest"
done
for n in 1 2 3; do
	image "t$n" "{$env,\"Cmd\":[\"sh\"]}" box "mark-$n"
	push "t$n" "k8s-staging-cri-tools/test-image-$n:latest"
done
image latest "{$env,\"Cmd\":[\"sh\"]}" box mark-latest
push latest k8s-staging-cri-tools/test-image-latest:latest
image tag "{$env,\"Cmd\":[\"sh\"]}" box mark-tag
push tag k8s-staging-cri-tools/test-image-tag:test
image all "{$env,\"Cmd\":[\"sh\"]}" box mark-all
push all k8s-staging-cri-tools/test-image-tag:all
image tags "{$env,\"Cmd\":[\"sh\"]}" box mark-tags
push tags k8s-staging-cri-tools/test-image-tags:1 k8s-staging-cri-tools/test-image-tags:2 k8s-staging-cri-tools/test-image-tags:3
image pause "{\"Entrypoint\":[\"/pause\"]}" pause
push pause pause:3.9
