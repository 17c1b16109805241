#pragma once
/*
 * The floor: an OCI runtime's own command line on a bundle that stands ready.  What a pod costs
 * above this is the daemon's doing.
 */
struct err;

struct bare {
	const char *cli;	/* the program */
	const char *root;	/* its state, --root */
	const char *bundle;
};

/* create, start, kill and delete once; prints samples "bare up", "bare down" and their parts.
 * The caller must be a subreaper: an exit can then be waited for. */
int bare_round(const struct bare *b, struct err *e);
