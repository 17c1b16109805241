#!/bin/sh
# components.sh WHAT...: build what is missing of these from their Go modules and keep it, by version, in
# ${XDG_CACHE_HOME:-~/.cache}/crisp-test/WHAT.
#	kubelet-VERSION	the kubelet
#	cluster-VERSION	the API server and kubectl
#	etcd-3.6.5
#	health	a health service for probes by gRPC
#	runsc	gVisor, as t/cri has it
# VERSION is 1.34.3 or 1.37.2; what is of one version shares most of its compiling.
# A go.mod here has a "replace" for each module that lives in Kubernetes' own tree: its go.mod names them at v0.0.0.
set -eu
cd "$(dirname "$0")"
here=$PWD
cache=${XDG_CACHE_HOME:-$HOME/.cache}/crisp-test
export CGO_ENABLED=0 GOFLAGS=-mod=mod
# shellcheck source=t/go.sh
. ../go.sh

# build VERSION PROGRAM...: programs of Kubernetes, here
build() {
	version=$1 minor=${1#1.}
	shift
	package=k8s.io/component-base/version
	for program in "$@"; do
		go build -trimpath -ldflags "-s -w -X $package.gitVersion=v$version -X $package.gitMajor=1 \
			-X $package.gitMinor=${minor%.*}" -o "$program" "k8s.io/kubernetes/cmd/$program"
	done
}
module() { cp "$here/$1.mod" go.mod && cp "$here/$1.sum" go.sum; }

make_one() {
	case $1 in
	kubelet-*) module "kubernetes-${1#*-}" && build "${1#*-}" kubelet ;;
	cluster-*) module "kubernetes-${1#*-}" && build "${1#*-}" kube-apiserver kubectl ;;
	etcd-*) module "$1" && go build -trimpath -ldflags "-s -w" -o etcd go.etcd.io/etcd/server/v3 ;;
	health) module kubernetes-1.34.3 && cp "$here/health.go" . && go build -trimpath -o health health.go ;;
	*) echo "no such component: $1" >&2; return 2 ;;
	esac
}

for what in "$@"; do
	if [ "$what" = runsc ]; then
		( here=$PWD/../cri; . ../cri/components.sh && gvisor_runsc )
		continue
	fi
	[ ! -e "$cache/$what/done" ] || continue
	go_find
	echo "# building $what, minutes" >&2
	rm -rf "${cache:?}/$what" && mkdir -p "$cache/$what"
	( cd "$cache/$what" && make_one "$what" && : > done ) >"$cache/$what.log" 2>&1 ||
		{ tail -n 5 "$cache/$what.log" >&2; exit 1; }
done
