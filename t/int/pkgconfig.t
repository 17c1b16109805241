#!/bin/sh
# What tools/install gives an author by pkg-config: header, folders and version, away from this tree,
# also when it was installed into a folder that stands for the root.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")/../.." || exit 1
. t/int/kit.sh
top=$PWD
stage() {	# PREFIX DESTDIR
	env PREFIX="$1" DESTDIR="$2" BUILD=build tools/install
}
ok "installed" stage "$dir/usr" ""
export PKG_CONFIG_PATH="$dir/usr/lib/pkgconfig"
abi=$(sed -n 's/^#define CRISP_ENGINE_MAJOR //p' engines/engine.h).$(sed -n 's/^#define CRISP_ENGINE_MINOR //p' engines/engine.h)
is() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; return 1; }; }
pc() { pkg-config "$@" crisp-engine; }
ok "the file is well formed" pc --validate
ok "its version is the ABI's" is "$(pc --modversion)" "$abi"
ok "at least 1.0, and not another major" pc --exists --print-errors "crisp-engine >= 1.0 crisp-engine < 2"
ok "its header is the one of this tree" cmp engines/engine.h "$(pc --variable=includedir)/crisp/engine.h"
ok "engines are where it says" test -f "$(pc --variable=enginedir)/crun.so"
ok "so are crisp's programs" test -x "$(pc --variable=libexecdir)/crisp-work"
ok "nothing is to be linked with" is "$(pc --libs)" ""

# An author's file: no more than the header, in several languages.
mkdir "$dir/author"
cd "$dir/author" || exit 1
cat >least.c <<C
#include <crisp/engine.h>
static int op_open(const struct crisp_host *h, const char *o, struct crisp_instance **i, char *m, uint32_t n)
{ (void)h, (void)o, (void)m, (void)n; static int instance; *i = (struct crisp_instance *)&instance; return 0; }
static void op_close(struct crisp_instance *i) { (void)i; }
static int op_create(struct crisp_instance *i, struct crisp_req *r, const struct crisp_create_args *a)
{ (void)i, (void)r, (void)a; return -38; }
static int op_start(struct crisp_instance *i, struct crisp_req *r, const struct crisp_start_args *a)
{ (void)i, (void)r, (void)a; return -38; }
static int op_del(struct crisp_instance *i, struct crisp_req *r, const struct crisp_args *a)
{ (void)i, (void)r, (void)a; return -38; }
static const struct crisp_ops ops = { .size = sizeof(ops), .open = op_open, .close = op_close,
	.create = op_create, .start = op_start, .del = op_del };
static const struct crisp_engine engine = { .magic = CRISP_ENGINE_MAGIC, .size = sizeof(engine),
	.major = CRISP_ENGINE_MAJOR, .minor = CRISP_ENGINE_MINOR,
	.caps = CRISP_CAP_EXIT_BY_PID | CRISP_CAP_PID_IS_HOST | CRISP_CAP_STDIO_FD | CRISP_CAP_ROOTFS_MOUNTED,
	.name = "least", .version = "1", .ops = &ops };
const struct crisp_engine *crisp_engine_v1(void) { return &engine; }
C
build() { "$@" $(pc --cflags) -shared -fPIC -fvisibility=hidden -o least.so least.c; }	# shellcheck disable=SC2046
ok "a plugin in strict C99" build cc -std=c99 -pedantic -Wall -Wextra -Werror
ok "keeps to what its file shows" "$dir/usr/bin/engine-check" --home "$dir/home" --only file least.so
ok "in C23, or what the compiler has of it" build cc -std=c2x -Wall -Wextra -Werror
! command -v clang >/dev/null || ok "with clang" build clang -Wall -Wextra -Werror
printf '#include <crisp/engine.h>\nint main() { return sizeof(crisp_ops) == 0; }\n' >least.cc
ok "the header in C++" c++ -std=c++11 -pedantic -Wall -Wextra -Werror $(pc --cflags) -c least.cc

cd "$top" || exit 1
ok "into a folder that stands for the root" stage /usr "$dir/stage"
export PKG_CONFIG_PATH="$dir/stage/usr/lib/pkgconfig"
ok "the file names where it will be" is "$(pc --variable=enginedir)" /usr/lib/crisp/engines
ok "and nothing of that folder" sh -c "! grep -r '$dir' '$dir/stage/usr/lib/pkgconfig'"
ok "a build for it finds the header there" test -f "$(PKG_CONFIG_SYSROOT_DIR=$dir/stage pc --cflags | sed 's/^-I//; s/ *$//')/crisp/engine.h"
finish
