#!/bin/sh
# The engine in docs/engines.md compiles as it stands, with the one header, and exports one symbol.
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed -n '/^```c$/,/^```$/{/^```/d;p}' docs/engines.md >"$dir/mini.c"
cp engines/engine.h "$dir"
cc -std=c11 -Wall -Wextra -Wno-unused-parameter -Werror -shared -fPIC -fvisibility=hidden \
	-o "$dir/mini.so" "$dir/mini.c" 2>"$dir/err" && echo "ok 1 - the example compiles" ||
	{ echo "not ok 1 - the example compiles"; sed 's/^/# /' "$dir/err"; }
symbols=$(nm -D --defined-only "$dir/mini.so" 2>/dev/null | sed 's/.* //')
[ "$symbols" = crisp_engine_v1 ] && echo "ok 2 - and exports one symbol" ||
	{ echo "not ok 2 - and exports one symbol"; echo "# $symbols"; }
echo 1..2
