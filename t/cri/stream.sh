# Sourced after lib.sh: exec, attach and port-forward as crictl does them, over SPDY and over WebSocket.
#	stream_over ENGINES HANDLER...	the value of `engines` in the daemon's configuration, and which of them
#	$no_loopback			handlers whose pods' loopback nobody reaches from outside
. ./components.sh

critools || { echo "not ok - crictl could not be built"; exit 1; }
: >"$work/crictl.yaml"
crictl() { "$critools/crictl" -c "$work/crictl.yaml" -r "unix://$sock" -t 20s "$@"; }
# The pty that crictl wants comes from script(1).
on_tty() { script -qec "stty rows 33 cols 77; $critools/crictl -c $work/crictl.yaml -r unix://$sock $*" /dev/null; }
make_container() {	# NAME STDIN TTY COMMAND...: prints its id
	name_of=$1 stdin=$2 tty=$3
	shift 3
	printf '{"metadata": {"name": "%s"}, "image": {"image": "busybox"}, "log_path": "%s.log", "stdin": %s, "stdin_once": %s,
		"tty": %s, "command": ["sh", "-c", %s], "linux": {}}' "$name_of" "$name_of" "$stdin" "$stdin" "$tty" \
		"$(printf %s "$*" | jq -Rs .)" >"$work/$name_of.json"
	made=$(crictl create "$pod" "$work/$name_of.json" "$work/pod.json") && crictl start "$made" >/dev/null && echo "$made"
}
code_of() { "$@" >"$work/out" 2>"$work/errors"; echo $?; }
fetch() { python3 -c "import sys, urllib.request; print(urllib.request.urlopen('http://127.0.0.1:$1/$2', timeout=10).read().decode(), end='')"; }
# forward_to PORT: of $pod, by $way; puts the program in $forward and its port on this host in $port.
forward_to() {
	rm -f "$work/forward"	# not the last one's words
	crictl port-forward -r $way "$pod" "0:$1" >"$work/forward" 2>&1 &
	forward=$!
	until_true 10 grep -q 'Forwarding from 127' "$work/forward" &&
		port=$(sed -n 's/.*127.0.0.1:\([0-9]*\).*/\1/p' "$work/forward" | head -n 1)
}
forward_end() {
	kill "$forward" 2>/dev/null
	wait "$forward" 2>/dev/null
}

stream_over() {
	engines=$1
	shift
	make_busybox
	leak_snapshot
	ok "crispd starts" crisp_start --set "engines=$engines"
	ok "an image is loaded" crispctl load "$work/busybox.tar"
	cat >"$work/pod.json" <<X
{"metadata": {"name": "web", "namespace": "default", "uid": "uid-1"}, "hostname": "web",
 "log_directory": "$work/logs", "linux": {"cgroup_parent": "/crisp-$name/web"}}
X
	# What takes a million bytes to and fro, and whatever a terminal would change.
	head -c 1000000 /dev/urandom >"$work/noise"
	for handler; do
		pod=$(crictl runp -r "$handler" "$work/pod.json")
		main=$(make_container main false false 'mkdir -p /www; echo hello >/www/index; trap "exit 0" TERM
			httpd -p 8080 -h /www; httpd -p 127.0.0.1:8081 -h /www; while :; do sleep 0.1; done')
		ok "$handler: a container runs" test -n "$main"
		for way in spdy websocket; do
			x="$handler, $way"
			ok "$x: exec" is "$(crictl exec -r $way "$main" echo hi)" hi
			ok "$x: stderr is kept apart" is "$(crictl exec -r $way "$main" sh -c 'echo out; echo err >&2' 2>/dev/null)" out
			ok "$x: the exit code" is "$(code_of crictl exec -r $way "$main" sh -c 'exit 7'):$(grep -o 'exit code 7' "$work/errors" | head -n 1)" \
				"1:exit code 7"
			ok "$x: stdin and its end" is "$(crictl exec -r $way -i "$main" sha256sum <"$work/noise" | cut -d' ' -f1)" "$(sha256sum <"$work/noise" | cut -d' ' -f1)"
			crictl exec -r $way -i "$main" cat <"$work/noise" >"$work/echo"
			ok "$x: a million bytes there and back" cmp "$work/noise" "$work/echo"
			ok "$x: a command that isn't there" has "$(crictl exec -r $way "$main" /nope 2>&1)" "/nope"
			ok "$x: a tty" has "$(on_tty exec -r $way -it "$main" sh -c '"test -t 0 && echo a terminal"' | tr -d '\r')" "a terminal"
			ok "$x: its size" has "$(on_tty exec -r $way -it "$main" sh -c '"sleep 0.5; stty size"' | tr -d '\r')" "33 77"

			ok "$x: ports are forwarded" forward_to 8080
			ok "$x: to the pod" is "$(fetch "$port" index)" hello
			pids=
			for i in 1 2 3 4 5 6 7 8; do fetch "$port" index >"$work/fetched.$i" & pids="$pids $!"; done
			wait $pids
			ok "$x: several at once" is "$(cat "$work"/fetched.?)" "$(printf 'hello\n%.0s' 1 2 3 4 5 6 7 8)"
			forward_end

			case " $no_loopback " in *" $handler "*) ;; *)
				forward_to 8081
				ok "$x: to what listens on the pod's localhost alone" is "$(fetch "$port" index)" hello
				forward_end ;;
			esac

			forward_to 81
			fetch "$port" index >/dev/null 2>&1
			ok "$x: a port on which nobody listens" until_true 10 grep -q 'localhost:81.*refused' "$work/forward"
			forward_end

			cat_id=$(make_container "cat-$way" true false 'while read -r line; do echo "got $line"; echo "err $line" >&2; done; echo end; exit 4')
			ok "$x: attach" is "$(printf 'one\ntwo\n' | crictl attach -r $way -i "$cat_id" 2>/dev/null)" "$(printf 'got one\ngot two\nend')"
			ok "$x: stdin_once: its end was the container's" until_true 10 sh -c "'$critools/crictl' -c '$work/crictl.yaml' -r unix://$sock inspect $cat_id | grep -q '\"exitCode\": 4'"
			ok "$x: the log has it too" is "$(grep -c 'stdout F got' "$work/logs/cat-$way.log")" 2
			ok "$x: attach to what has ended is refused" has "$(crictl attach -r $way "$cat_id" 2>&1)" "has exited"
			crictl rm "$cat_id" >/dev/null
		done
		ok "$handler: exec in what isn't there" has "$(crictl exec nope true 2>&1)" "no such container"
		ok "$handler: stop" crictl stop "$main"
		ok "$handler: exec in what has ended is refused" has "$(crictl exec "$main" true 2>&1)" "has exited"
		ok "$handler: rmp -f" crictl rmp -f "$pod"
		rm -rf "$work/logs"
	done
	ok "crispd stops" crisp_stop
	ok "nothing is left" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10
	finish
}
