#!/bin/sh
# exec, attach and port-forward on crun and runc.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ./stream.sh
stream_over '{default: crun, handlers: {crun: {engine: crun}, runc: {engine: runc}}}' crun runc
