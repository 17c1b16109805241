#pragma once
/* Telling the outside that we serve. */

/* sd_notify(3): state ("READY=1") to $NOTIFY_SOCKET; nothing without one.  Never waits. */
void notify_systemd(const char *state);
/* "ready\n" to *fd, which is closed and set to -1; nothing for -1. */
void notify_ready_fd(int *fd);
