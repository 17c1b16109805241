#pragma once
/*
 * What a job of crisp-work hands back: one SOCK_SEQPACKET message on fd REPLY_FD.  The text
 * has a letter for each fd that comes with it, in order: n netns, i ipc, u uts, o the user namespace
 * that owns them, s shm, d the netns' /proc/net/dev, m mount namespace; c a connection; h and r the
 * host's /etc/hosts and /etc/resolv.conf, open, because the core itself opens nothing that is not
 * its own.
 */
#include <stddef.h>

#include "core/base/err.h"

enum { REPLY_FD = 3, REPLY_FDS_MAX = 8 };

/* fds are borrowed. */
int reply_send(int sock, const char *letters, const int *fds, struct err *e);
/* Read a message that is there already.  fds[i] belongs to letters[i], the callee's and
 * close-on-exec; fewer fds than letters is -EPROTO. */
int reply_receive(int sock, char letters[REPLY_FDS_MAX + 1], int fds[REPLY_FDS_MAX], struct err *e);
