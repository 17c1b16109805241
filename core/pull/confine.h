#pragma once
/*
 * Giving up rights, for good, before hostile bytes are read.
 *
 *	role		files				network			rights
 *	supervisor	the pull's folder, /etc, libs	none of its own		root, no exec
 *	fetch		resolver and CA files, read	TCP to known ports	user nobody
 *	load		the source alone, read		none			to read it
 *	unpack		its layer's folder (chroot)	none			six capabilities
 *
 * Each role is enforced twice where the kernel can: Landlock and chroot for files, Landlock and
 * seccomp for the network, seccomp and capabilities for the rest.  A kernel without Landlock (or
 * with an older one) does without that part.
 */
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

enum confine_syscalls { CONFINE_FETCH, CONFINE_LOAD, CONFINE_UNPACK };

/* The supervisor: dir may be written beneath, what the fetcher needs may be read (also beneath
 * source, unless that is < 0). */
int confine_supervisor(int dir, int source, struct err *e);
/* ports: TCP ports that may be connected to. */
int confine_fetch(const uint16_t *ports, size_t n_ports, struct err *e);
/* source: a directory, which becomes "/", or -1: what is read is open already. */
int confine_load(int source, struct err *e);
/* root becomes "/". */
int confine_unpack(int root, struct err *e);

/* The ABI of the kernel's Landlock, 0 if it has none. */
int confine_landlock_abi(void);
