#pragma once
/*
 * What the keeper and the core say to each other, over a SOCK_SEQPACKET pair: one fixed-size
 * message a packet, at most one fd with it.  Both sides may be of different versions (the
 * keeper outlives an upgrade of the core): messages only ever get added, unknown ones are
 * ignored.
 *
 *	keeper -> core   HELLO, then FD for each kept fd and EXIT for each exit not yet acked,
 *	                 then READY; later EXIT as they come
 *	core -> keeper   PUT (with fd), DROP, ACK, QUIT
 */
#include <stdint.h>

enum keep_msg_type {
	KEEP_MSG_HELLO = 1,	/* a: keeper's pid, b: generation */
	KEEP_MSG_FD = 2,	/* key, with the fd */
	KEEP_MSG_EXIT = 3,	/* a: pid, b: wait status */
	KEEP_MSG_READY = 4,	/* end of the hand-over */
	KEEP_MSG_PUT = 16,	/* key, with the fd */
	KEEP_MSG_DROP = 17,	/* key */
	KEEP_MSG_ACK = 18,	/* a: pid */
	KEEP_MSG_QUIT = 19,	/* a: exit code */
};

struct keep_msg {
	uint32_t type;
	int32_t a, b;
	char key[128];		/* NUL-terminated, zero-padded */
};

/* One entry of the table that a core which becomes a keeper leaves in a memfd: `fd` is open. */
struct keep_entry {
	int32_t fd;
	char key[128];
};
