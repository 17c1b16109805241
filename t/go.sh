# Sourced by what builds Go programs: a Go that is new enough, from Debian's packages alone.
# shellcheck shell=sh

# As the newest of the go.mod files says.
go_version=1.26.3

# go_find: puts a Go in PATH.  One from 1.21 on fetches by itself what a go.mod asks for.  Debian 12's
# 1.19 does not know how, but the toolchain lies in the module proxy like any module: the older Go
# fetches it, checks it against the sum that is pinned here, and the newer one builds.
go_find() {
	command -v go >/dev/null || { echo "# Go is missing: tools/install-packages test" >&2; return 1; }
	case $(go env GOVERSION) in
	go1.[0-9] | go1.[0-9].* | go1.1[0-9]* | go1.20*) ;;
	*) return 0 ;;
	esac
	go_at=${XDG_CACHE_HOME:-$HOME/.cache}/crisp-test/go-$go_version
	[ -e "$go_at/done" ] || go_fetch || return 1
	PATH=$go_at/bin:$PATH
	export PATH
}

go_fetch() {
	go_arch=$(go env GOARCH)
	go_module=golang.org/toolchain@v0.0.1-go$go_version.linux-$go_arch
	case $go_arch in
	amd64) go_sum=h1:LdHRR8AtYKtOQrWMnd5AbvhZMSVJ7HoO2wrqShPaLV8= ;;
	*) go_sum= ;;	# the checksum database alone answers for it
	esac
	echo "# fetching Go $go_version by the module proxy (once)" >&2
	go_tmp=$(mktemp -d)
	(
		cd "$go_tmp" &&
		{ go mod download -json "$go_module" >answer || { cat answer >&2; false; }; } &&
		{ [ -z "$go_sum" ] || grep -qF "\"$go_sum\"" answer || { echo "$go_module: another sum" >&2; false; }; } &&
		rm -rf "$go_at" && mkdir -p "$go_at" &&
		cp -R "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' answer)/." "$go_at/" &&
		chmod -R u+w "$go_at" &&
		# A module's files have no modes.
		find "$go_at/bin" "$go_at/pkg/tool" -type f -exec chmod +x {} + &&
		: >"$go_at/done"
	)
	go_ret=$?
	rm -rf "$go_tmp"
	return $go_ret
}
