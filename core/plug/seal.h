#pragma once
/*
 * Programs copied into sealed memory once and run from there by all: nobody can change them under
 * a running container's feet (runtimes then skip the copy that they would make of themselves at each
 * start), and the file on disk is not read again.
 *
 * The copy is made by crisp-plug.  A file that has changed (device, inode, size or mtime) is copied
 * anew at its next use.  A script is no copy: it runs from its path.
 */
#include "core/base/err.h"

struct pool;
struct loop;
struct spawner;
struct seals;

enum { SEAL_FD = 3, SEAL_EXIT_NO_ELF = 3 };	/* crisp-plug's side */

/* Dies with p. */
struct seals *seals_new(struct loop *l, struct pool *p, struct spawner *s, const char *libexec_dir);

/* fd: the sealed copy, borrowed for this pass of the loop; -1 with e: it can't be had; -1 without:
 * run it from its path.  At the end of this pass at the soonest. */
struct seal_wait;
typedef void seal_cb(void *data, int fd, const struct err *e);
/* The waiter lives in p; when p goes first cb doesn't come. */
void seal_get(struct seals *s, struct pool *p, const char *path, seal_cb *cb, void *data);

/* The same at once: fd, -EAGAIN (being made; asked for by this call), -ENOEXEC (a script) or
 * another -errno. */
int seal_now(struct seals *s, const char *path);
