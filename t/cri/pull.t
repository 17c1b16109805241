#!/bin/sh
# Pulls from a real registry through the daemon: names of one image, compressions, errors, a reader
# that stalls, a core that dies in the midst.
cd "$(dirname "$0")" || exit 1
. ./lib.sh

push() {	# NAME SKOPEO-OPTION...: big.tar as NAME
	name_at=$1
	shift
	skopeo --insecure-policy copy -q --dest-tls-verify=false "$@" "oci-archive:$work/big.tar" "docker://$registry/$name_at"
}
# One layer of busybox, one of what doesn't compress.
make_big() {
	make_busybox
	skopeo --insecure-policy copy -q "docker-archive:$work/busybox.tar" "oci:$work/big:t" &&
		mkdir "$work/more" && head -c "${BIG:-60000000}" /dev/urandom >"$work/more/noise" &&
		umoci unpack --rootless --image "$work/big:t" "$work/big.bundle" &&
		mv "$work/more/noise" "$work/big.bundle/rootfs/" &&
		umoci repack --image "$work/big:t" "$work/big.bundle" &&
		skopeo --insecure-policy copy -q "oci:$work/big:t" "oci-archive:$work/big.tar"
}
pull() { crispctl -o json pull "$@"; }
# The id that a pull prints last.
id_of() { pull "$1" | grep -o 'sha256:[0-9a-f]*' | tail -n 1; }
fails_with() {	# WORD COMMAND...
	word=$1
	shift
	if "$@" >"$work/answer" 2>&1; then echo "it didn't fail"; return 1; fi
	has "$(cat "$work/answer")" "$word"
}
no_workers() { ! pgrep -P "$1" -f crisp-pull; }

ok "a registry runs" registry_start
ok "an image of two layers is made" make_big
ok "it is pushed" push big:1
ok "with zstd as well" push big:zstd --dest-compress-format zstd --dest-compress
digest=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$registry/big:1")
ok "and as latest" push big
ok "crispd starts" crisp_start --set "registries={plain_http: [\"$registry\"]}"
pull "$registry/big:1" >/dev/null && crispctl rmi "$registry/big:1" >/dev/null
leak_snapshot --pid "core=$(core_pid)" --pid "keeper=$crisp_pid"

id=$(id_of "$registry/big:1")
ok "by tag" has "$id" sha256:
ok "by digest it is the same image" is "$(id_of "$registry/big@$digest")" "$id"
ok "without a tag as well" is "$(id_of "$registry/big")" "$id"
zstd=$(id_of "$registry/big:zstd")
ok "with zstd: the same config, so the same image" is "$zstd" "$id"
ok "one image, all its names" is "$(crispctl -o json images | grep -c '"id"')" 1
ok "a tag that isn't there: it says so" fails_with "$registry/big:none" pull "$registry/big:none"
ok "as NotFound" fails_with "not found" pull "$registry/none:none"
ok "a digest that isn't there" fails_with "not found" pull "$registry/big@sha256:$(printf %064d 7)"
ok "the image goes" crispctl rmi "$id"

out=$("$build/t/cri/stalled_pull" "$sock" "$registry/big:1")
ok "a reader that stalls holds up to its window" has "$out" "held 8 closed 0"
ok "another's pull of the same image ends meanwhile" has "$out" "beside 0"
ok "and the stalled one ends well when it reads on" has "$out" "status 0"
ok "with the image" has "$out" "image $id"
n=$(echo "$out" | sed -n 's/.*messages \([0-9]*\).*/\1/p')
ok "what was said meanwhile has waited for it" test "$n" -ge 3
ok "the image goes again" crispctl rmi "$id"

pull "$registry/big:1" >"$work/cut" 2>&1 &
puller=$!
core=$(core_pid)
ok "a pull is under way" until_true 20 pgrep -P "$core" -f crisp-pull
kill -9 "$core"
wait "$puller"
ok "the core dies, another serves" until_true 20 crispctl status
ok "of the pull nothing runs on" until_true 20 no_workers "$(core_pid)"
ok "nor is there half an image" is "$(crispctl -o json images | grep -c '"id"')" 0
ok "it is pulled whole" is "$(id_of "$registry/big:1")" "$id"
ok "and goes" crispctl rmi "$id"
core=$(core_pid)
ok "nothing is left" "$top/t/leak/leakcheck" compare "$work/leak" --wait 20 --pid "core=$core" --pid "keeper=$crisp_pid"
ok "crispd stops" crisp_stop
finish
