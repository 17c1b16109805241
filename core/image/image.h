#pragma once
/*
 * Images: what is on this node, and how more of it gets here.
 *
 *	image	id = digest of its configuration ("sha256:<hex>"), one whatever its names
 *	name	a canonical tag ("docker.io/library/x:latest") or digest name ("...@sha256:<hex>")
 *	layer	one unpacked file system difference, in a directory of its own, shared by images,
 *		known by its diff ID (digest of the uncompressed tar)
 *	hold	somebody (a container) uses the layers of an image: they outlive its removal
 *
 * The store keeps everything in memory and in a log below <root>/images; lookups never wait.
 * Whatever waits (network, unpacking, syncing, deleting) is done by crisp-pull, a program of
 * its own that is not trusted with anything but the folder it fills.
 *
 * A struct image stays valid until the loop's next pass: copy what is to be kept.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>


#include "core/base/err.h"
#include "core/base/list.h"

struct buf;
struct image_pull;
struct image_store;
struct loop;
struct pool;
struct spawner;

/* All strings are copied; lists end with NULL and may be NULL. */
struct image_mirror {
	const char *host;		/* "docker.io", "registry.example:5000" */
	const char *const *urls; /* base URLs that are tried in order, the host itself last */
};

struct image_options {
	const char *root;		/* the store is <root>/images */
	const char *libexec_dir;	/* where crisp-pull is */
	const char *const *plain_http;	/* HOST[:PORT] that are spoken to without TLS */
	const struct image_mirror *mirrors;
	size_t n_mirrors;
	const char *auth_file;		/* a docker config.json; NULL: none */
	const char *const *pinned;	/* shell patterns of names that are never garbage */
	unsigned unpackers;		/* layers unpacked at once per pull; 0: one per CPU */
	uint64_t stall_ms;		/* a pull that moves no byte for so long fails; 0: 5 min */
};

struct image_config {
	const char **env;
	size_t n_env;
	const char **entrypoint;
	size_t n_entrypoint;
	const char **cmd;
	size_t n_cmd;
	const char *working_dir, *user, *stop_signal;	/* NULL when unset */
	const char **volumes;
	size_t n_volumes;
};

struct image {
	const char *id;
	const char **repo_tags;
	size_t n_repo_tags;
	const char **repo_digests;
	size_t n_repo_digests;
	uint64_t size;			/* bytes of its layers on disk, > 0 */
	uint64_t inodes;
	bool pinned;
	const char *const *layers;	/* absolute directories, LOWEST first */
	size_t n_layers;
	struct image_config config;
};

/* Read the index, drop what a power cut may have torn, and delete leftovers in the background.
 * Fails when the root can't be used. */
int image_store_open(struct loop *l, struct pool *p, struct spawner *s,
		     const struct image_options *o, struct image_store **out, struct err *e);
/* What may change while running: all but root. */
void image_store_configure(struct image_store *st, const struct image_options *o);
/* Call once at start, after every container that lives has taken its hold: layers that neither an
 * image nor a hold names are deleted from now on. */
void image_store_sweep(struct image_store *st);

/* ref: an id with or without "sha256:", at least 12 digits of one, or a name in any spelling
 * ("x", "x:tag", "host/x@sha256:..").  NULL when there is none. */
const struct image *image_find(struct image_store *st, const char *ref);
/* Iterate: NULL gives the first, the last gives NULL. */
const struct image *image_next(struct image_store *st, const struct image *prev);
/* By id, also one that was removed while held. */
const struct image *image_held(struct image_store *st, const char *id);
/* The configuration as the registry had it, for verbose answers: a small file of the store. */
int image_config_json(struct image_store *st, const struct image *im, struct buf *out,
		      struct err *e);

/* Holds are counted, and kept in memory alone: containers take them again after a restart,
 * before image_store_sweep().  -ENOENT when the image is gone. */
int image_hold(struct image_store *st, const char *id);
void image_release(struct image_store *st, const char *id);

/* All names of the image go at once, its layers when nobody holds them.  Missing is 0. */
int image_remove(struct image_store *st, const char *ref, struct err *e);

/* To wait until what was removed has left the disk, or cannot for now: deleting failed, a pull
 * still runs.  cb comes once and never from inside image_await_deleted(), unless one leaves. */
struct image_await {
	struct list link;
	void (*cb)(struct image_await *w);
};
void image_await_deleted(struct image_store *st, struct image_await *w,
			 void (*cb)(struct image_await *w));
void image_await_leave(struct image_await *w);

/* From counters.  mountpoint is the store's directory. */
void image_fs_info(struct image_store *st, uint64_t *bytes, uint64_t *inodes,
		   const char **mountpoint);

/* As in the CRI; any may be NULL. */
struct image_auth {
	const char *username, *password;
	const char *auth;		/* base64 of user:password */
	const char *server_address;	/* when set: the only host that gets these */
	const char *identity_token, *registry_token;
};

struct image_progress {
	uint64_t done, total;		/* bytes as they are stored in the registry */
	unsigned layers_done, layers;
	const char *stage;		/* "resolving", "pulling", "syncing" */
};

typedef void image_progress_cb(void *data, const struct image_progress *pr);
/* ret 0 and the id, or -errno and the words: -ENOENT not there, -EACCES refused by the registry,
 * -EINVAL bad reference or image, -EIO the registry can't be reached (the message begins with
 * "RegistryUnavailable") or the transfer broke, -EBADMSG a digest or size is wrong, -ECANCELED. */
typedef void image_done_cb(void *data, int ret, const char *image_id, const struct err *e);

/*
 * Pull.  Callers with equal reference and credentials share one worker.  A present image is still
 * asked for at the registry, so credentials are always tried.  done comes exactly once, never from
 * inside the call; the handle is gone after it.  progress may be NULL.
 */
struct image_pull *image_pull(struct image_store *st, const char *ref,
			      const struct image_auth *auth, image_progress_cb *progress,
			      image_done_cb *done, void *data);
/* Import an OCI layout (directory or tar) or a docker archive (tar).  fd (borrowed) or, if that is
 * < 0, path; name (may be NULL) is given to an image that brings none.  An archive of several
 * images gives the id of the last one. */
struct image_pull *image_load(struct image_store *st, int fd, const char *path, const char *name,
			      image_progress_cb *progress, image_done_cb *done, void *data);
/* This caller is gone and is told nothing more; the last one to leave cancels the worker. */
void image_pull_leave(struct image_pull *p);

/* For the dump: workers under way. */
unsigned image_pulls_running(const struct image_store *st);
