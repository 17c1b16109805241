#pragma once
/*
 * The core's side of the keeper.  What must survive the core is put under a key; a copy of the
 * fd then lives in the keeper, and the next core finds it in its hand-over.  The keeper also
 * reaps the processes that a dead core has left to it, and tells each exit until it is acked.
 *
 * Nothing here waits, but for the hand-over and for a keeper that does not read (each bounded
 * by a deadline).  struct keep is the pool's; its fds that nobody took close with it.
 *
 * When the keeper itself dies, keep_on_lost's callback is told once and everything else goes
 * on as a no-op: keep_revive() then makes this very process a keeper that starts a new core.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/base/err.h"

struct keep;
struct loop;
struct pool;

enum { KEEP_KEY_MAX = 127 };

/* sock: the core's end of the SOCK_SEQPACKET pair, taken.  Reads the whole hand-over: the
 * keeper sends it at once.  -ETIMEDOUT, -EPROTO, -EPIPE. */
int keep_open(struct loop *l, struct pool *p, int sock, struct keep **out, struct err *e);

/* A keep without a keeper, for tests and for `no keeper`: puts and drops do nothing. */
struct keep *keep_none(struct loop *l, struct pool *p);

/*
 * fd is borrowed, a copy goes to the keeper; it is in the socket before this returns, so a
 * core that dies right after loses nothing.  An earlier fd of that key is replaced.  Leave fd
 * open (same number) until keep_drop() where you can: should the keeper die, only what the
 * core itself still has open can be saved.
 */
void keep_put(struct keep *k, const char *key, int fd);
void keep_drop(struct keep *k, const char *key);	/* unknown keys are fine */

/* An fd of the hand-over (close-on-exec), from now on the caller's to close; the keeper keeps
 * its copy until keep_drop().  -1 if there is none, or it has been taken. */
int keep_take(struct keep *k, const char *key);
/* Keys of the hand-over that nobody has taken yet, in no order; NULL past the end. */
const char *keep_unclaimed(const struct keep *k, size_t i);
/* After recovery: what nobody took is closed, and dropped at the keeper too. */
void keep_drop_unclaimed(struct keep *k);

/*
 * Exits of processes that were re-parented to the keeper, as of waitpid(2); those that came
 * before are told from the next loop pass on.  Each is told again to every new core until
 * keep_ack_exit(): ack also the pids that you don't know.  The callback may come before or
 * after the pidfd's own event.
 */
void keep_on_exit(struct keep *k, void (*cb)(void *data, pid_t pid, int wait_status), void *data);
void keep_ack_exit(struct keep *k, pid_t pid);

pid_t keep_pid(const struct keep *k);	/* 0 without a keeper */
unsigned keep_generation(const struct keep *k);	/* cores started before this one, 0 for the first */

/* The keeper is gone.  Called once, from the loop. */
void keep_on_lost(struct keep *k, void (*cb)(void *data), void *data);
/* Become a keeper: exec `keeper` in this pid with every fd that was put and is still open; it
 * starts argv (argv[0] is the core's program) anew.  Returns only on failure. */
int keep_revive(struct keep *k, const char *keeper, char *const argv[], struct err *e);

/* Is something kept that belongs to a container or a pod (a key with a '/')? */
bool keep_lasting(const struct keep *k);

/* Orderly ends, each the last word before this process exits.
 * quit: the keeper leaves too, with this exit code, and what is kept goes.
 * again: the keeper starts another core at once. */
void keep_quit(struct keep *k, int code);
void keep_again(struct keep *k);
/*
 * Nobody serves any more, crispd ends with this code, but what is kept stays for the next one.
 * A keeper in the operator's own pid has to leave, and this process becomes the one that rests,
 * in its pid, with its children (as keep_revive does); this returns only if that has failed or
 * is not needed.  Exit then.
 */
void keep_rest(struct keep *k, const char *keeper, char *const argv[], int code);
