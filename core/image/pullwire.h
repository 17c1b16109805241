#pragma once
/*
 * What the image store and crisp-pull say to each other.
 *
 * crisp-pull pull: one JSON object on stdin, then end of file; events on fd PULLWIRE_EVENTS, one
 * JSON object a line.  Exit code 0 after "done", else 1; a death without "error" is a crash.
 *
 *	request	{ "name": canonical name, "host", "path", "reference": tag or digest,
 *		  "load": true if this is an import (then "path" is a file or directory, or it is
 *			open as fd PULLWIRE_SOURCE, and "name" a name for what has none),
 *		  "tmp": an empty directory to work in,
 *		  "layers": [{ "diff", "blob", "id", "chain" }]	what the store has already,
 *		  "plain_http": [HOST], "mirrors": [URL]	of this host,
 *		  "auth": { as struct image_auth }, "auth_file": path,
 *		  "unpackers": n, "stall_ms": n }
 *	events	{ "event": "progress", "stage", "done", "total", "layers_done", "layers" }
 *		{ "event": "layer", "dir": below tmp, "diff", "blob", "bytes", "inodes", "chain" }
 *		{ "event": "image", "id", "manifest": digest or null, "names": [...],
 *		  "bytes": of config, "config_file": below tmp,
 *		  "config": JSON of the used fields as a string,
 *		  "layers": [{ "id" } or { "dir" }], lowest first }
 *		{ "event": "done" }
 *		{ "event": "error", "code": errno, "message" }
 *
 * What "layer" names was synced to disk before it is named.  "chain" is set for a layer that fits
 * only above the layers it was pulled with (its directories took their attributes from them).
 *
 * crisp-pull sync N: fsync the fds 3 .. 3+N-1.  crisp-pull trash DIR: delete what is in DIR.
 * crisp-pull confine-check DIR: try, from inside each role, what must not work; TAP.
 */
enum { PULLWIRE_EVENTS = 3, PULLWIRE_SOURCE = 4, PULLWIRE_SYNC = 3 };

/* A line longer than this is not from us. */
enum { PULLWIRE_LINE_MAX = 12 << 20, PULLWIRE_REQUEST_MAX = 32 << 20 };

/* Registries' documents, at most. */
enum { PULLWIRE_MANIFEST_MAX = 4 << 20, PULLWIRE_CONFIG_MAX = 8 << 20, PULLWIRE_LAYERS_MAX = 500 };
