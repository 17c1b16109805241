#pragma once
/*
 * The jobs of crisp-work, `crisp-work JOB ARGS...`: each may block for as long as it likes, its
 * caller has the deadline.  A job returns 0 or -errno with the words in e; main() prints them as
 * one line on stderr (or on the fd that job_error_fd() was told) and exits with 1.
 * argv[0] is the job's name.
 */
#include "core/base/err.h"

struct job {
	const char *name, *usage;
	int (*run)(int argc, char **argv, struct err *e);
};

int job_enter(int argc, char **argv, struct err *e);
int job_template(int argc, char **argv, struct err *e);
int job_ns(int argc, char **argv, struct err *e);
int job_sysctl(int argc, char **argv, struct err *e);
int job_unpin(int argc, char **argv, struct err *e);
int job_rmtree(int argc, char **argv, struct err *e);
int job_prepare(int argc, char **argv, struct err *e);

/* Errors go to this fd instead of stderr, from now on. */
void job_error_fd(int fd);
