#pragma once
/*
 * The jobs of crisp-work, `crisp-work JOB ARGS...`: each may block for as long as it likes, its
 * caller has the deadline.  A job returns 0 or -errno with the words in e, which are printed as
 * one line on stderr (or on job_error_fd()) before exit code 1; 2 is a wrong use.  argv[0] is
 * the job's name.  Fds for the caller go over the socket REPLY_FD (core/sandboxfs/reply.h).
 *
 * crisp-work is static, so that it starts fast.
 */
#include "core/base/err.h"

struct job {
	const char *name, *usage;
	int (*run)(int argc, char **argv, struct err *e);
};

/* main() of a program with these jobs (the last one without a name). */
int job_main(const struct job *jobs, int argc, char **argv);
/* Errors go to this fd instead of stderr, from now on; it is close-on-exec. */
void job_error_fd(int fd);
/* Wrong arguments: -EINVAL, exit code 2. */
int job_usage(struct err *e, const char *what);
/* A number as all of text, or -1. */
int job_number(const char *text);

int job_enter(int argc, char **argv, struct err *e);
int job_template(int argc, char **argv, struct err *e);
int job_ns(int argc, char **argv, struct err *e);
int job_sysctl(int argc, char **argv, struct err *e);
int job_unpin(int argc, char **argv, struct err *e);
int job_rmtree(int argc, char **argv, struct err *e);
int job_usage_of(int argc, char **argv, struct err *e);
int job_dial(int argc, char **argv, struct err *e);
int job_limit(int argc, char **argv, struct err *e);
int job_prepare(int argc, char **argv, struct err *e);
