#pragma once
/* What is known of the host's /etc/hosts (h) and /etc/resolv.conf (r); inner header. */

/* Open and read them: at start-up. */
void files_look(void);
/* Read them anew from an open fd (borrowed), if they have changed. */
void files_see(char letter, int fd);
