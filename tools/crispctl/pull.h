#pragma once
/* Pulling with a progress line: for `pull`, and for `run` when an image is missing. */
struct ctl;
struct err;

/* *id: what the server names the image by.  auth may be NULL ("USER:PASSWORD"). */
int pull_image(struct ctl *c, const char *image, const char *auth, const char **id, struct err *e);
