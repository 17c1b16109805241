# Images made on the spot, as OCI layouts: busybox for the containers, a pause for containerd.
# shellcheck shell=sh

# image_layout DIR NAME CMD FOLDER: the tree in FOLDER becomes the one layer of NAME in DIR.
image_layout() (
	dir=$1 name=$2 cmd=$3 folder=$4
	blobs=$dir/blobs/sha256
	mkdir -p "$blobs"
	blob() {	# FILE MEDIATYPE: its descriptor
		digest=$(sha256sum <"$1" | cut -d' ' -f1)
		size=$(wc -c <"$1" | tr -d ' ')
		mv "$1" "$blobs/$digest"
		printf '"mediaType":"%s","digest":"sha256:%s","size":%s' "$2" "$digest" "$size"
	}
	tar -C "$folder" --owner=0 --group=0 --numeric-owner -cf "$dir/layer" .
	diff_id=$(sha256sum <"$dir/layer" | cut -d' ' -f1)
	layer=$(blob "$dir/layer" application/vnd.oci.image.layer.v1.tar)
	printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["%s"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$(dpkg --print-architecture)" "$cmd" "$diff_id" >"$dir/config"
	config=$(blob "$dir/config" application/vnd.oci.image.config.v1+json)
	printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{%s},"layers":[{%s}]}' \
		"$config" "$layer" >"$dir/manifest"
	manifest=$(blob "$dir/manifest" application/vnd.oci.image.manifest.v1+json)
	printf '{"schemaVersion":2,"manifests":[{%s,"annotations":{"io.containerd.image.name":"%s"}}]}' \
		"$manifest" "$name" >"$dir/index.json"
	echo '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
)

# image_make: $tmp/rootfs and the two layouts $tmp/image, $tmp/pause.
image_make() {
	mkdir -p "$tmp/rootfs/bin" "$tmp/pausefs"
	cp /bin/busybox "$tmp/rootfs/bin/busybox"
	for tool in sh sleep true; do ln -s busybox "$tmp/rootfs/bin/$tool"; done
	cp build/libexec/crisp-pause "$tmp/pausefs/pause"
	image_layout "$tmp/image" "$image" sh "$tmp/rootfs"
	image_layout "$tmp/pause" "$pause_image" /pause "$tmp/pausefs"
}
