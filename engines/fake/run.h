#pragma once
/* Inside crisp-fake: see run.c. */
#include <stdbool.h>

/* Can these words be executed? */
bool run_knows(char **words);
/* Do them; returns the exit code, or never. */
int run_words(char **words);
/* Send the master of a new pty to whoever listens at path; returns the slave, or -1. */
int give_console(const char *path);
/* Messages of box.c and boxd.c: fields with this between them, for words may hold anything else. */
#define BOX_SEP "\x1f"
enum { BOX_MESSAGE_MAX = 1 << 18 };
/* The sandbox: serve this socket. */
int box_main(const char *socket, const char *pid_file);
