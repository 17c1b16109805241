#pragma once
/*
 * Inside plug: what handlers, calls, jobs and the host services know of each other.
 *
 *	plug.c		the set: plugins, handlers, their states
 *	call.c		an operation: queue, hand over, deadline, end
 *	args.c		what operations there are; copies of their arguments
 *	host.c		the services of an instance: events, timers, watches, kept fds, blobs
 *	job.c		the spawn service
 */
#include "core/base/list.h"
#include "core/base/map.h"
#include "core/loop/loop.h"
#include "core/plug/plug.h"

struct bond;
struct handler;
struct seals;

/* A plugin; stays loaded for good. */
struct module {
	struct list link;
	struct plug *plug;
	const char *name;
	const struct crisp_engine *engine;	/* NULL until loaded */
	struct err err;				/* why it never will be */
};

struct plug {
	struct loop *loop;
	struct pool *pool;
	struct spawner *spawner;
	struct keep *keep;
	struct plug_options opt;
	const struct plug_events *events;
	void *data;
	struct seals *seals;
	struct list modules, handlers;
	const char *default_name;
	struct list settle_waits;
	struct loop_defer settle;
	struct list idle_reqs;		/* oldest first */
	unsigned n_idle_reqs, calls;
};

/* The services of one instance. */
struct host {
	struct crisp_host abi;
	struct handler *handler;
	struct pool *pool;
	struct list jobs;
	struct plug_call *current;	/* the operation whose code runs in the plugin now */
	struct map kept;
};

struct handler {
	struct plug_handler pub;
	struct list link;
	struct plug *plug;
	struct module *module;
	struct host host;
	struct crisp_instance *inst;	/* NULL until opened */
	struct list calls;		/* not ended, in order of arrival */
	struct plug_call *probe;
	struct list looks;		/* of those who wait for the end of probe, or of LOADING */
	int64_t probed_ns;
	unsigned failures;		/* operations that failed, since one has not */
	unsigned making, max_parallel;	/* GIVEN calls of op_makes() */
	unsigned holds;
	struct loop_defer close;
};

/* What a plugin has begun on behalf of a call: programs and timers.  Whatever it begins from
 * their callbacks belongs to the same call. */
struct bond {
	struct list link;
	struct plug_call *call;		/* NULL: of nobody, or of a call that has ended */
};
void bond_init(struct bond *b, struct plug_call *c);
void bond_del(struct bond *b);

/* What the plugin gets for a call: it outlives the call, so that a late or second done() is seen
 * for what it is. */
struct crisp_req {
	struct list link;		/* among the idle ones */
	struct plug *plug;
	struct plug_call *call;		/* NULL: answered */
	bool owed;			/* we have answered in the plugin's place */
	enum plug_op op;		/* of the last call, for the log */
	struct handler *handler;
};

/* -- args.c -- */

struct op_shape {
	const char *name;
	size_t size;			/* of its args */
	uint16_t strings[5];		/* offsets of const char * beyond the head; 0 ends */
	uint16_t rootfs, stdio;		/* offsets of these, 0: none */
	uint16_t blob, blob_len;	/* offsets, 0: none */
};
const struct op_shape *op_shape(enum plug_op op);
/* A deep copy in p; fds are duplicated and close with p. */
void *args_copy(struct pool *p, enum plug_op op, const void *a);
const struct crisp_rootfs *args_copy_rootfs(struct pool *p, const struct crisp_rootfs *from);

/* -- plug.c -- */

/* It may be broken: probe it. */
void handler_suspect(struct handler *h);
/* One use of it less: nobody may need it any more. */
void handler_less(struct handler *h);

/* -- call.c -- */

void call_done(struct crisp_req *req, const struct crisp_result *res);
/* The handler's state has changed: see to those that wait for it. */
void handler_run_queue(struct handler *h);
/* A call to a handler that is still LOADING (the probe itself). */
struct plug_call *call_start(struct handler *h, enum plug_op op, const void *a, const char *serial,
			     uint64_t timeout_ms, bool first, plug_cb *cb, void *data);
struct list *call_bonds(struct plug_call *c);

/* -- host.c -- */

void host_init(struct host *host, struct handler *h);
/* The instance is closed: all that it has begun ends, and each service is dead from here on. */
void host_shut(struct host *host);
/* The plugin's code runs between these: for whom, and is it too long? */
struct host_span {
	struct host *host;
	struct plug_call *was;
	int64_t began_ns;
};
struct host_span host_enter(struct host *host, struct plug_call *c);
void host_leave(struct host_span *s, const char *what);

int state_put(struct handler *h, const char *id, const void *data, size_t len);
/* Its length; the text goes to p, *data is NULL when there is none. */
uint32_t state_load(struct handler *h, struct pool *p, const char *id, const void **data);
bool id_ok(const char *id);

/* -- job.c -- */

struct crisp_job *job_spawn(const struct crisp_host *abi, const struct crisp_spawn_plan *plan,
			    crisp_spawn_cb *cb, void *data);
void job_kill(struct crisp_job *j);
/* Kill the programs that were begun for c; says whether there were any. */
bool jobs_kill_of(struct host *host, struct plug_call *c);
unsigned jobs_count(const struct host *host);
