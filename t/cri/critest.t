#!/bin/sh
# critest over crun and runc: all pass.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ./critest.sh
critest_begin '{default: crun, handlers: {crun: {engine: crun}, runc: {engine: runc}}}'
critest_over crun 107
critest_over runc 107
critest_end
