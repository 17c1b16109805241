#pragma once
/*
 * What the keeper and the core say to each other, over a SOCK_SEQPACKET pair: one fixed-size
 * message a packet, at most one fd with it.  Both sides may be of different versions (the
 * keeper outlives an upgrade of the core): messages only ever get added, unknown ones are
 * ignored.
 *
 *	keeper -> core   HELLO, then FD for each kept fd and EXIT for each exit not yet acked,
 *	                 then READY; later EXIT as they come
 *	core -> keeper   PUT (with fd), DROP, ACK, QUIT, REST, AGAIN
 *
 * The same messages are spoken on the socket that is kept as "holder", between a keeper whose pid
 * is not the operator's and the process that the operator has started, its front:
 *
 *	front -> keeper  FRONT_FD (with fd) for "args", "cwd", "in", "out", "err", perhaps "ready",
 *	                 then FRONT_GO; later FRONT_SIGNAL
 *	keeper -> front  FRONT_TAKEN or FRONT_BUSY; at the end FRONT_END
 */
#include <stdint.h>

/* Keys with a meaning to the keeper; those of containers and pods have a '/', and it does not
 * leave while it holds one. */
#define KEEP_KEY_LOCK "lock"		/* the state's lock file: a resting keeper goes with it */
#define KEEP_KEY_HOLDER "holder"	/* listens for fronts */
#define KEEP_HOLDER_SOCKET "holder.sock"	/* where that is, below the state */
#define KEEP_KEY_SOCKET "sock"		/* where the core listens: each puts it once it is up */
#define KEEP_KEY_READY "ready"		/* a front's: who is up writes "ready" to it and drops it */

enum keep_msg_type {
	KEEP_MSG_HELLO = 1,	/* a: keeper's pid, b: generation, key: "rests" if it can: its pid
				   is not the operator's */
	KEEP_MSG_FD = 2,	/* key, with the fd */
	KEEP_MSG_EXIT = 3,	/* a: pid, b: wait status */
	KEEP_MSG_READY = 4,	/* end of the hand-over */
	KEEP_MSG_PUT = 16,	/* key, with the fd */
	KEEP_MSG_DROP = 17,	/* key */
	KEEP_MSG_ACK = 18,	/* a: pid */
	KEEP_MSG_QUIT = 19,	/* a: exit code.  Leave when the core has */
	KEEP_MSG_REST = 20,	/* a: exit code, b: the sender itself goes on as a keeper.  Serving
				   ends, what is kept stays */
	KEEP_MSG_AGAIN = 21,	/* start another core when this one has left */
	KEEP_MSG_FRONT_FD = 32,	/* key, with the fd */
	KEEP_MSG_FRONT_GO = 33,
	KEEP_MSG_FRONT_SIGNAL = 34,	/* a: signal, for the core */
	KEEP_MSG_FRONT_TAKEN = 48,	/* a: keeper's pid */
	KEEP_MSG_FRONT_BUSY = 49,	/* a: the pid that this keeper works for */
	KEEP_MSG_FRONT_END = 50,	/* a: exit code */
};

struct keep_msg {
	uint32_t type;
	int32_t a, b;
	char key[128];		/* NUL-terminated, zero-padded */
};

/* One entry of the table in a memfd, for a process that becomes a keeper by execve: `fd` is open;
 * -1: not an fd but an exit that no core has acked. */
struct keep_entry {
	int32_t fd;
	union {
		char key[128];
		struct {
			int32_t pid, status;
		} exit;
	};
};

/* The head of a front's "args", a memfd; strings follow, each with its NUL: the keeper's program,
 * the core's, its arguments, then the environment. */
struct keep_args {
	uint32_t n_args, n_env;
};

enum { KEEP_ARGS_MAX = 256, KEEP_ENV_MAX = 2048, KEEP_ARGS_BYTES = 1 << 18 };
