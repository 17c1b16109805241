# Sourced by the tests of this folder: components that are built once and kept, by version, in
# ${XDG_CACHE_HOME:-~/.cache}/crisp-test.  $here is this folder.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/crisp-test
. "$here/../go.sh"

# critools: critest, crictl and ginkgo in $cache/cri-tools-1.36.0; puts it in $critools.
critools() {
	critools=$cache/cri-tools-1.36.0
	[ ! -e "$critools/done" ] || return 0
	go_find || return 1
	rm -rf "$critools" && mkdir -p "$critools"
	cp "$here/critools/go.mod" "$here/critools/go.sum" "$critools/"
	(
		cd "$critools" || exit 1
		export CGO_ENABLED=0 GOFLAGS=-mod=mod
		go build -trimpath -o crictl sigs.k8s.io/cri-tools/cmd/crictl &&
		go build -trimpath -o ginkgo github.com/onsi/ginkgo/v2/ginkgo &&
		go test -trimpath -c -o critest \
			-ldflags "-X sigs.k8s.io/cri-tools/pkg/version.Version=1.36.0" \
			sigs.k8s.io/cri-tools/cmd/critest &&
		: > done
	) >"$cache/critools.log" 2>&1 || { tail -n 5 "$cache/critools.log" >&2; return 1; }
}

# sources_of_sources DIR: where apt finds packages, it shall find their sources.
sources_of_sources() {
	for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
		[ -f "$list" ] || continue
		case $list in
		*.sources) sed 's/^Types: deb$/Types: deb-src/' "$list" ;;
		*.list) sed -n 's/^deb /deb-src /p' "$list" ;;
		esac >"$1/${list##*/}"
	done
}

# source_busybox: a static busybox whose shell looks its commands up in PATH, as the images of the
# Kubernetes tests have it; Debian's own prefers its applets.  Puts the program in $busybox.
source_busybox() {
	busybox=$cache/busybox-src-1/busybox
	[ ! -e "$busybox" ] || return 0
	dir=$(mktemp -d)
	(
		cd "$dir" && mkdir lists parts && sources_of_sources parts &&
		set -- -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$dir/parts" \
			-o Dir::State::Lists="$dir/lists" &&
		apt-get -q "$@" update && apt-get -q "$@" source --download-only busybox &&
		dpkg-source --no-check -x busybox_*.dsc tree && cd tree &&
		make defconfig &&
		sed -i -e 's/.*CONFIG_STATIC[ =].*/CONFIG_STATIC=y/' \
			-e 's/^CONFIG_FEATURE_SH_STANDALONE=y/# CONFIG_FEATURE_SH_STANDALONE is not set/' \
			-e 's/^CONFIG_FEATURE_PREFER_APPLETS=y/# CONFIG_FEATURE_PREFER_APPLETS is not set/' \
			-e 's/^CONFIG_TC=y/# CONFIG_TC is not set/' .config &&
		make -j2 busybox &&
		mkdir -p "$(dirname "$busybox")" && cp busybox "$busybox"
	) >"$cache/busybox.log" 2>&1 </dev/null || { tail -n 5 "$cache/busybox.log" >&2; return 1; }
	rm -rf "$dir"
}

# gvisor_runsc: a runsc of 2025-02-05 (systrap); puts the program in $runsc.  Debian's is of 2022.
# It looks into goroutines at a fixed offset, so a Go that is newer than itself makes a sentry that
# panics now and then.
gvisor_runsc() {
	runsc=$cache/runsc-20250205/runsc
	[ ! -e "$cache/runsc-20250205/done" ] || return 0
	go_find || return 1
	rm -rf "$cache/runsc-20250205" && mkdir -p "$cache/runsc-20250205"
	cp "$here/gvisor-mod/go.mod" "$here/gvisor-mod/go.sum" "$cache/runsc-20250205/"
	(
		cd "$cache/runsc-20250205" && export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=go1.23.6 &&
		go build -trimpath -o runsc gvisor.dev/gvisor/runsc && : > done
	) >"$cache/runsc.log" 2>&1 || { tail -n 5 "$cache/runsc.log" >&2; return 1; }
}

# gvisor_shim: gVisor's own shim and the runsc that it runs; puts their folder in $gvisor_shim.
# The shim wants to set its OOM score, which a host without CAP_SYS_RESOURCE refuses: let it.  And
# runsc of that day reads the number of a goroutine where a Go of 2026 keeps something else, and
# panics now and then when the two numbers that it compares differ: it shan't compare them.
gvisor_shim() {
	gvisor_shim=$cache/gvisor-shim-20250205-2
	[ ! -e "$gvisor_shim/done" ] || return 0
	go_find || return 1
	rm -rf "$gvisor_shim" && mkdir -p "$gvisor_shim"
	cp "$here/shim-mod/go.mod" "$here/shim-mod/go.sum" "$gvisor_shim/"
	(
		cd "$gvisor_shim" && export CGO_ENABLED=0 GOFLAGS=-mod=mod &&
		go mod download gvisor.dev/gvisor &&
		cp -R "$(go list -m -f '{{.Dir}}' gvisor.dev/gvisor)" source && chmod -R u+w source &&
		sed -i '/sys.SetOOMScore/s/err != nil {/err != nil \&\& !os.IsPermission(err) {/' source/pkg/shim/service.go &&
		sed -i '/^func (t .Task) assertTaskGoroutine() {/a return' source/pkg/sentry/kernel/task_run.go &&
		go mod edit -replace gvisor.dev/gvisor=./source &&
		go build -trimpath -o containerd-shim-runsc-v1 gvisor.dev/gvisor/shim &&
		go build -trimpath -o runsc gvisor.dev/gvisor/runsc && rm -rf source && : > done
	) >"$cache/gvisor-shim.log" 2>&1 || { tail -n 5 "$cache/gvisor-shim.log" >&2; return 1; }
}
