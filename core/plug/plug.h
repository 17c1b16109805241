#pragma once
/*
 * The engines: plugins (engines/engine.h), their handlers, and the calls made to them.
 *
 *	handler		name in the configuration -> (plugin, options): one instance of the plugin
 *	call		one operation under way: completed exactly once, whatever the plugin does
 *
 *	          plug_handler_add              probed
 *	  LOADING -----------------> (loading) --------> READY <----+
 *	     |  file refused, crashed, no such symbol      |        | a probe answers again
 *	     v                                             v        |
 *	  FAILED (until it is added again)              UNREADY ----+  (it doesn't work here)
 *
 * Nothing is polled.  A READY one is probed when some operations in a row have failed, or when its
 * program is not there to be run; an UNREADY one when somebody asks for its state, every few
 * seconds at most, or looks (plug_handler_look).  Then one is tried anew, too, that FAILED because
 * its file took too long to load or its open() failed.
 *
 * A handler that is LOADING queues its calls.  One that FAILED answers each with -EHOSTDOWN and
 * the reason; one that is UNREADY passes them on, so that the caller reads the engine's own words.
 *
 * Every plug_*() call copies its arguments, never fails at once and never calls back from inside
 * itself.  The host holds the deadline: an engine that doesn't answer is answered for, with
 * -ETIMEDOUT, and the programs that it has started for the call are killed.  Messages begin with
 * handler and operation: "HANDLER: create: ...".  The state that an engine keeps for a container goes
 * with a forced delete, whatever comes of it, that of a sandbox with one that has worked.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "engines/engine.h"

struct loop;
struct pool;
struct spawner;
struct keep;
struct plug;
struct plug_call;
struct json_out;

/* What engines tell by themselves.  id and exec_id are checked for form, not for existence. */
struct plug_events {
	/* wait_status as of waitpid(2); exec_id NULL: the container itself */
	void (*exited)(void *data, const char *id, const char *exec_id, int wait_status,
		       int64_t at_ns);
	void (*oom)(void *data, const char *id);
	void (*sandbox_gone)(void *data, const char *id, const char *reason);
	/* a handler's state has changed; may be NULL */
	void (*handler)(void *data, const char *name);
};

struct plug_options {
	const char *engine_dir;		/* where NAME.so lie */
	const char *libexec_dir;	/* crisp-work, crisp-plug */
	const char *state_dir;		/* <state>; handlers live in engines/HANDLER below it */
	int mntns_fd;			/* template mount namespace (borrowed); -1: none yet */
	uint64_t timeout_ms;		/* of a call that names none; 0: two minutes */
	uint64_t load_ms;		/* of a plugin's first look; 0: half a minute */
};

/* keep may be NULL: keep_fd then holds within this process alone.  Dies with p. */
struct plug *plug_new(struct loop *l, struct pool *p, struct spawner *s, struct keep *keep,
		      const struct plug_options *options, const struct plug_events *events,
		      void *data);

/* Set the template mount namespace later (borrowed; -1: none). */
void plug_set_mntns(struct plug *pl, int mntns_fd);

enum plug_state { PLUG_STATE_LOADING, PLUG_STATE_READY, PLUG_STATE_UNREADY, PLUG_STATE_FAILED };

/* Members are read-only for others. */
struct plug_handler {
	const char *name, *engine;
	const char *options;		/* JSON text */
	enum plug_state state;
	bool ready;			/* state == READY */
	bool old;			/* no new pod gets it: the name is another's, or nobody's */
	const char *reason;		/* why not; never NULL, "" when ready */
	uint64_t caps;			/* CRISP_CAP_*; as the plugin claims until probed */
	bool rro, userns;		/* for RuntimeHandlerFeatures */
	bool userns_asked;		/* somebody is finding out */
	const char *no_userns;		/* why not userns; never NULL, "" when it is */
	const char *version;		/* of the engine's program; "" until known */
	const char *plugin_version;
	const char *const *annotation_prefixes;	/* never NULL, NULL-terminated */
};

/* Never fails: a bad name, a missing file or a crash make it FAILED, with ->reason.  options_json
 * NULL: none.  The same (name, engine, options) gives the handler that exists; other options under
 * a known name give a new handler that takes the name over: the old one lives on for who holds
 * it.  One that has FAILED is tried again. */
struct plug_handler *plug_handler_add(struct plug *pl, const char *name, const char *engine,
				      const char *options_json);
/* The handler of a pod of an earlier core, as it was then: the one that exists, or one that is old
 * from the beginning, which the configuration has no more. */
struct plug_handler *plug_handler_recall(struct plug *pl, const char *name, const char *engine,
					 const char *options_json);
/* "" and NULL: the default.  NULL when there is none of that name. */
struct plug_handler *plug_handler_get(struct plug *pl, const char *name);
void plug_handler_default(struct plug *pl, const char *name);
/* In the order of adding; NULL past the end. */
struct plug_handler *plug_handler_at(struct plug *pl, size_t i);
/* No new pod gets it; it lives on for who holds it. */
void plug_handler_drop(struct plug_handler *h);
/* p's owner needs it as long as p lives.  One that is old, that nobody holds and that has no call under way
 * is closed: it answers no more (FAILED), and the pointer stays good. */
void plug_handler_hold(struct plug_handler *h, struct pool *p);
/* At most so many operations at once that make something: sandboxes, containers, starts, execs.
 * What is more waits, with a deadline of its own when it begins.  0: no limit. */
void plug_handler_limit(struct plug_handler *h, unsigned max_parallel);
/* Look again whether the engine works; nothing happens while a probe is under way. */
void plug_handler_probe(struct plug_handler *h);
/* The truth of now about one that is not ready: look at it at once, together with whoever looks
 * already.  True: cb comes once, when what was found out is in the handler, unless p has been
 * destroyed before.  False: it is ready, or there is nothing to look at. */
bool plug_handler_look(struct plug_handler *h, struct pool *p, void (*cb)(void *data), void *data);
/* True for a ready handler whose engine claims user namespaces while nobody knows if they work: the
 * caller finds out and says so.  Until then they do not. */
bool plug_handler_userns_due(struct plug_handler *h);
void plug_handler_userns(struct plug_handler *h, bool works, const char *why_not);
/* Call cb once, when no handler is LOADING any more (at the end of this pass if none is). */
void plug_when_settled(struct plug *pl, void (*cb)(void *data), void *data);

enum plug_op {
	PLUG_OP_PROBE,
	PLUG_OP_PREPARE_SPEC,
	PLUG_OP_SANDBOX_CREATE,
	PLUG_OP_SANDBOX_STOP,
	PLUG_OP_SANDBOX_DELETE,
	PLUG_OP_SANDBOX_ATTACH,
	PLUG_OP_SANDBOX_STATS,
	PLUG_OP_SANDBOX_UPDATE,
	PLUG_OP_CREATE,
	PLUG_OP_START,
	PLUG_OP_KILL,
	PLUG_OP_DELETE,
	PLUG_OP_EXEC,
	PLUG_OP_EXEC_DELETE,
	PLUG_OP_RESIZE,
	PLUG_OP_CLOSE_STDIN,
	PLUG_OP_UPDATE,
	PLUG_OP_STATS,
	PLUG_OP_PIDS,
	PLUG_OP_PAUSE,
	PLUG_OP_RESUME,
	PLUG_OP_CHECKPOINT,
	PLUG_OP_RESTORE,
	PLUG_OP_ATTACH,
	PLUG_OP_PORT_FORWARD,
	PLUG_OP_DIAGNOSE,
	PLUG_OP_COUNT,
};
const char *plug_op_name(enum plug_op op);

/* Does the engine have the operation?  False while LOADING. */
bool plug_has(const struct plug_handler *h, enum plug_op op);
static inline bool plug_can(const struct plug_handler *h, uint64_t cap)
{
	return (h->caps & cap) == cap;
}

/* The end of a call, exactly once.  ret 0 or -errno, e its words (never NULL).  res is never NULL
 * and holds until the callback returns; its pidfd and fd belong to the callee from here on:
 * -1 when there is none.  With ret < 0 both are -1. */
typedef void plug_cb(void *data, int ret, const struct crisp_result *res, const struct err *e);

/*
 * Start an operation.  a is the args struct of that operation, size and deadline_ns are set here.
 * timeout_ms 0: the default.  serial: pod whose other calls must end first where the engine wants
 * one at a time (SERIALIZE_SANDBOX); NULL: none.  The handle is good until the callback returns.
 */
struct plug_call *plug_call(struct plug_handler *h, enum plug_op op, const void *a,
			    const char *serial, uint64_t timeout_ms, plug_cb *cb, void *data);

struct plug_call *plug_sandbox_create(struct plug_handler *h,
				      const struct crisp_sandbox_create_args *a,
				      uint64_t timeout_ms, plug_cb *cb, void *data);
struct plug_call *plug_sandbox_stop(struct plug_handler *h, const char *id, uint64_t timeout_ms,
				    plug_cb *cb, void *data);
struct plug_call *plug_sandbox_delete(struct plug_handler *h, const char *id, bool force,
				      uint64_t timeout_ms, plug_cb *cb, void *data);
struct plug_call *plug_sandbox_attach(struct plug_handler *h, const struct crisp_attach_args *a,
				      uint64_t timeout_ms, plug_cb *cb, void *data);
struct plug_call *plug_create(struct plug_handler *h, const struct crisp_create_args *a,
			      uint64_t timeout_ms, plug_cb *cb, void *data);
/* sandbox: the pod, for engines that want one call at a time; may be NULL, here and below. */
struct plug_call *plug_start(struct plug_handler *h, const char *sandbox,
			     const struct crisp_start_args *a, uint64_t timeout_ms, plug_cb *cb,
			     void *data);
struct plug_call *plug_kill(struct plug_handler *h, const char *sandbox,
			    const struct crisp_kill_args *a, uint64_t timeout_ms, plug_cb *cb,
			    void *data);
struct plug_call *plug_delete(struct plug_handler *h, const char *sandbox, const char *id,
			      bool force, uint64_t timeout_ms, plug_cb *cb, void *data);
struct plug_call *plug_exec(struct plug_handler *h, const char *sandbox,
			    const struct crisp_exec_args *a, uint64_t timeout_ms, plug_cb *cb,
			    void *data);
struct plug_call *plug_exec_delete(struct plug_handler *h, const char *sandbox, const char *id,
				   const char *exec_id, uint64_t timeout_ms, plug_cb *cb,
				   void *data);
struct plug_call *plug_resize(struct plug_handler *h, const char *sandbox,
			      const struct crisp_resize_args *a, uint64_t timeout_ms, plug_cb *cb,
			      void *data);
struct plug_call *plug_close_stdin(struct plug_handler *h, const char *sandbox, const char *id,
				   const char *exec_id, uint64_t timeout_ms, plug_cb *cb,
				   void *data);
struct plug_call *plug_update(struct plug_handler *h, const char *sandbox,
			      const struct crisp_update_args *a, uint64_t timeout_ms, plug_cb *cb,
			      void *data);
struct plug_call *plug_pause(struct plug_handler *h, const char *sandbox, const char *id,
			     uint64_t timeout_ms, plug_cb *cb, void *data);
struct plug_call *plug_resume(struct plug_handler *h, const char *sandbox, const char *id,
			      uint64_t timeout_ms, plug_cb *cb, void *data);
struct plug_call *plug_attach(struct plug_handler *h, const struct crisp_attach_args *a,
			      uint64_t timeout_ms, plug_cb *cb, void *data);

/* Give up: the callback follows within 5 s, with -ECANCELED unless the end came first. */
void plug_call_cancel(struct plug_call *c);
/* "create", and how long it has been under way, for the dump. */
enum plug_op plug_call_op(const struct plug_call *c);
unsigned plug_calls(const struct plug *pl);	/* under way, all handlers */
/* Handlers with state, calls and programs, as an array of objects. */
void plug_dump(struct plug *pl, struct json_out *o);
