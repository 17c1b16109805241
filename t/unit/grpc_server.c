/*
 * The gRPC server against a client that misbehaves.  The server is a child process, so that
 * its leaks and its memory are its own; it counts what happens to it and tells by RPC.
 *
 *	grpc_server               the tests
 *	grpc_server serve PATH    only the server, for other clients; then milliseconds to wait
 *	                          for a client's preface
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/err.h"
#include "core/base/log.h"
#include "core/grpc/grpc.h"
#include "core/http2/http2.h"
#include "core/loop/loop.h"
#include "core/sock/sock.h"
#include "proto/cri.pb-c.h"
#include "t/grpc_client.h"
#include "t/tap.h"

#define SERVICE "runtime.v1.RuntimeService"
#define METHOD(name) "/" SERVICE "/" name

/* -- the server -- */

static struct pool *root;
static struct loop *loop;
static struct grpc_server *server;
static int cancelled, sent, waiting;

static void handle_cancel(struct grpc_call *call, void *data)
{
	cancelled++;
	waiting--;
}

static void handle_version(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__VersionResponse r = CRI__VERSION_RESPONSE__INIT;
	r.version = (char *)"0.1.0";
	r.runtime_name = (char *)"crisp";
	r.runtime_version = (char *)"0.1.0";
	r.runtime_api_version = (char *)"v1";
	grpc_reply(call, &r.base);
}

/* Status: the server's counters, as text. */
static void handle_status(struct grpc_call *call, const ProtobufCMessage *request)
{
	Cri__VersionResponse r = CRI__VERSION_RESPONSE__INIT;
	r.version = pool_printf(grpc_pool(call), "cancelled=%d sent=%d waiting=%d connections=%zu heap=%zu",
				cancelled, sent, waiting, grpc_server_connections(server),
				mallinfo2().uordblks);
	grpc_reply(call, &r.base);
}

/* ExecSync: `timeout` bytes of stdout; the arguments say how it ends. */
static void handle_exec(struct grpc_call *call, const ProtobufCMessage *request)
{
	const Cri__ExecSyncRequest *q = (const Cri__ExecSyncRequest *)request;
	const char *how = q->n_cmd ? q->cmd[0] : "";
	struct err e = { 0 };
	if (!strcmp(how, "fail")) {
		err_set(&e, ENOENT, "100%% gone:\n%s", q->container_id);
		return grpc_fail(call, &e);
	}
	if (!strcmp(how, "wait")) {
		waiting++;
		return grpc_on_cancel(call, handle_cancel, NULL);
	}
	Cri__ExecSyncResponse r = CRI__EXEC_SYNC_RESPONSE__INIT;
	r.stdout.len = !strcmp(how, "echo") ? strlen(q->container_id) : (size_t)q->timeout;
	r.stdout.data = !strcmp(how, "echo") ? (uint8_t *)q->container_id
					     : pool_alloc(grpc_pool(call), (size_t)q->timeout + 1);
	grpc_reply(call, &r.base);
}

/* Exec: a response whose string is not UTF-8, shared with a model that must not change. */
static void handle_bad_string(struct grpc_call *call, const ProtobufCMessage *request)
{
	static char shared[] = "http://\xff";
	Cri__ExecResponse r = CRI__EXEC_RESPONSE__INIT;
	r.url = shared;
	grpc_reply(call, &r.base);
	if (strcmp(shared, "http://\xff") || r.url != shared)
		abort();
}

static void handle_answer_due(struct loop_timer *t)
{
	waiting--;
	handle_version(t->data, NULL);
}

/* UpdateRuntimeConfig: answered 200 ms later. */
static void handle_slow(struct grpc_call *call, const ProtobufCMessage *request)
{
	struct loop_timer *t = pool_new_struct(grpc_pool(call), struct loop_timer);
	waiting++;
	loop_timer_start(t, loop, grpc_pool(call), 200, 0, handle_answer_due, call);
	grpc_on_cancel(call, handle_cancel, NULL);
}

/* A stream of events: `left` messages of 1 KiB, with or without minding back-pressure. */
struct stream {
	int left;
	bool mind, fail;
};

static void send_events(struct grpc_call *call, void *data)
{
	static char id[1001];
	struct stream *s = data;
	Cri__ContainerEventResponse r = CRI__CONTAINER_EVENT_RESPONSE__INIT;
	memset(id, 'x', sizeof(id) - 1);
	r.container_id = id;
	while (s->left) {
		s->left--;
		sent++;
		if (!grpc_send(call, &r.base) && s->mind)
			return;
	}
	if (!s->mind)
		return;
	waiting--;
	if (s->fail)
		grpc_fail_code(call, GRPC_ABORTED, "no more");
	else
		grpc_finish(call);
}

static void handle_stream(struct grpc_call *call, int n, bool mind, bool fail)
{
	struct stream *s = pool_new_struct(grpc_pool(call), struct stream);
	*s = (struct stream){ n, mind, fail };
	waiting++;
	grpc_on_cancel(call, handle_cancel, NULL);
	grpc_on_writable(call, send_events, s);
	send_events(call, s);
}

static void handle_events(struct grpc_call *call, const ProtobufCMessage *request)
{
	handle_stream(call, 20000, true, false);
}

static void handle_short_events(struct grpc_call *call, const ProtobufCMessage *request)
{
	handle_stream(call, 3, true, true);
}

/* Messages packed once and sent twice, the first with a string that is not UTF-8. */
static void handle_packed(struct grpc_call *call, const ProtobufCMessage *request)
{
	static char bad[] = "id\xff", good[] = "id";
	Cri__ContainerEventResponse r = CRI__CONTAINER_EVENT_RESPONSE__INIT;
	struct err e = { 0 };
	size_t len[2];
	r.container_id = bad;
	void *first = grpc_pack(grpc_pool(call), &r.base, &len[0], &e);
	r.container_id = good;
	void *second = grpc_pack(grpc_pool(call), &r.base, &len[1], &e);
	r.container_id = pool_alloc(grpc_pool(call), GRPC_MESSAGE_MAX + 1);
	memset(r.container_id, 'x', GRPC_MESSAGE_MAX);
	size_t too_long;
	if (grpc_pack(grpc_pool(call), &r.base, &too_long, &e) || !e.code)
		abort();
	grpc_begin(call);
	grpc_begin(call);
	for (int i = 0; i < 2; i++) {
		grpc_send_packed(call, first, len[0]);
		grpc_send_packed(call, second, len[1]);
	}
	grpc_finish(call);
}

/* Begun, and silent. */
static void handle_begun(struct grpc_call *call, const ProtobufCMessage *request)
{
	waiting++;
	grpc_on_cancel(call, handle_cancel, NULL);
	grpc_begin(call);
}

static void handle_flood(struct grpc_call *call, const ProtobufCMessage *request)
{
	handle_stream(call, 40000, false, false);
}

#define UNARY(n, q, r, h) { SERVICE, n, &cri__##q##__descriptor, &cri__##r##__descriptor, false, h }
#define STREAM(n, h)                                                                               \
	{ SERVICE, n, &cri__get_events_request__descriptor,                                        \
	  &cri__container_event_response__descriptor, true, h }

static const struct grpc_method methods[] = {
	UNARY("Version", version_request, version_response, handle_version),
	UNARY("Status", version_request, version_response, handle_status),
	UNARY("ExecSync", exec_sync_request, exec_sync_response, handle_exec),
	UNARY("Exec", exec_request, exec_response, handle_bad_string),
	UNARY("UpdateRuntimeConfig", version_request, version_response, handle_slow),
	UNARY("RunPodSandbox", run_pod_sandbox_request, run_pod_sandbox_response, NULL),
	STREAM("GetContainerEvents", handle_events),
	STREAM("Flood", handle_flood),
	STREAM("Packed", handle_packed),
	STREAM("Begun", handle_begun),
	STREAM("ShortEvents", handle_short_events),
	{ 0 }
};

static void handle_term(struct loop_signal *s, int signo)
{
	grpc_server_close(server);
	loop_stop(loop);
}

static void handle_usr1(struct loop_signal *s, int signo)
{
	grpc_server_shutdown(server);
}

static int serve(const char *path, uint64_t preface_ms)
{
	struct err e = { 0 };
	struct loop_signal term = { 0 }, usr1 = { 0 };
	int fd = sock_listen(path, 0660, &e);
	if (fd < 0) {
		log_error("can't listen", "err", err_text(&e));
		return 1;
	}
	root = pool_new(NULL, "root");
	loop = loop_new(root);
	server = grpc_server_new(loop, root, fd, methods, NULL);
	grpc_server_set_preface_ms(server, preface_ms);
	loop_signal_start(&term, loop, root, SIGTERM, handle_term, NULL);
	loop_signal_start(&usr1, loop, root, SIGUSR1, handle_usr1, NULL);
	loop_run(loop);
	pool_destroy(root);
	return waiting ? 3 : 0;
}

/* -- the tests -- */

static char path[64];

static struct client *open_client(void)
{
	return client_open(path, 1 << 20);
}

static void get_stats(const char *name, long *value)
{
	struct client *c = open_client();
	size_t len;
	struct client_call *call = client_ask(c, METHOD("Status"), "", 0, NULL);
	const void *body = client_message(call, 0, &len);
	Cri__VersionResponse *r = (void *)protobuf_c_message_unpack(&cri__version_response__descriptor,
								     NULL, len, body);
	const char *at = r ? strstr(r->version, name) : NULL;
	*value = at ? atol(at + strlen(name) + 1) : -1;
	protobuf_c_message_free_unpacked(&r->base, NULL);
	client_close(c);
}

static long stat_of(const char *name)
{
	long v;
	get_stats(name, &v);
	return v;
}

/* Wait for a counter: the server learns of things in its own time. */
static bool stat_becomes(const char *name, long want)
{
	for (int i = 0; i < 6000; i++) {
		if (stat_of(name) == want)
			return true;
		usleep(10000);
	}
	return false;
}

/* A counter that goes up as long as the server can go on: where it stops.  Each look is a pass of its loop, in which
 * it would have gone on. */
static long stat_stays(struct client *c, const char *name)
{
	long last = -1;
	for (int same = 0, i = 0; same < 10 && i < 1000; i++) {
		client_run(c, NULL, 20);
		long now = stat_of(name);
		same = now > 0 && now == last ? same + 1 : 0;
		last = now;
	}
	return last;
}

/* A packed ExecSyncRequest; the caller frees it. */
static struct buf exec_request(const char *id, const char *how, int64_t n)
{
	char *cmd[] = { (char *)how };
	struct buf b = { 0 };
	Cri__ExecSyncRequest q = CRI__EXEC_SYNC_REQUEST__INIT;
	q.container_id = (char *)id;
	q.n_cmd = how ? 1 : 0;
	q.cmd = cmd;
	q.timeout = n;
	size_t len = protobuf_c_message_get_packed_size(&q.base);
	protobuf_c_message_pack(&q.base, (uint8_t *)buf_room(&b, len));
	b.len = len;
	return b;
}

static struct client_call *ask_exec(struct client *c, const char *id, const char *how, int64_t n,
				    const struct client_options *o)
{
	struct buf b = exec_request(id, how, n);
	struct client_call *call = client_ask(c, METHOD("ExecSync"), b.data, b.len, o);
	buf_free(&b);
	return call;
}

static struct client_call *start_exec(struct client *c, const char *how, const struct client_options *o)
{
	struct buf b = exec_request("id", how, 0);
	struct client_call *call = client_call(c, METHOD("ExecSync"), b.data, b.len, o);
	buf_free(&b);
	return call;
}

static void test_unary(void)
{
	struct client *c = open_client();
	size_t len;
	struct client_call *call = client_ask(c, METHOD("Version"), "\x0a\x02v1", 4, NULL);
	ok(call->closed && call->code == 0 && call->http_status == 200 && client_message(call, 0, &len) &&
	   !client_message(call, 1, &len), "Version answers");

	char *id = malloc(300001);
	memset(id, 'a', 300000);
	id[300000] = 0;
	const struct client_options tiny = { .chunk = 777 };
	call = ask_exec(c, id, "echo", 0, &tiny);
	const char *body = client_message(call, 0, &len);
	ok(call->code == 0 && body && len > 300000 && memmem(body, len, id, 300000),
	   "a message in 777-byte DATA frames");
	free(id);

	struct client_call *calls[50];
	const struct client_options cut = { .chunk = 3 };
	int good = 0;
	for (int i = 0; i < 50; i++)
		calls[i] = start_exec(c, "echo", &cut);
	for (int i = 0; i < 50; i++)
		good += client_run(c, &calls[i]->closed, 60000) && calls[i]->code == 0;
	ok(good == 50, "50 calls at once in one connection: %d", good);

	const struct client_options meta = { .extra = "traceparent", .extra_value = "00-1-2-03" };
	call = client_ask(c, METHOD("Version"), "", 0, &meta);
	ok(call->code == 0, "unknown metadata is tolerated");

	call = client_ask(c, METHOD("Exec"), "", 0, NULL);
	body = client_message(call, 0, &len);
	ok(call->code == 0 && body && memmem(body, len, "http://\xef\xbf\xbd", 10),
	   "a string that is not UTF-8 is mended");
	client_ping(c);
	for (int i = 0; i < 1000 && !c->pings; i++)
		client_run(c, NULL, 20);
	ok(c->pings == 1, "PING is answered");
	client_close(c);
}

static void test_refusals(void)
{
	static const struct {
		const char *name, *path, *body;
		size_t len;
		struct client_options o;
		int http, code;
		const char *message;	/* a part of it */
	} rows[] = {
		{ "unknown method", METHOD("Nope"), "", 0, { 0 }, 200, 12, "unknown method: /" SERVICE "/Nope" },
		{ "unknown service", "/x.Y/Nope", "", 0, { 0 }, 200, 12, "/x.Y/Nope" },
		{ "no path to speak of", "/", "", 0, { 0 }, 200, 12, "unknown service" },
		{ "a method not built", METHOD("RunPodSandbox"), "", 0, { 0 }, 200, 12,
		  SERVICE "/RunPodSandbox is not implemented" },
		{ "GET", METHOD("Version"), "", 0, { .method = "GET" }, 405, 2, "POST" },
		{ "HTML", METHOD("Version"), "", 0, { .content_type = "text/html" }, 415, 2, "content-type" },
		{ "gRPC-Web", METHOD("Version"), "", 0, { .content_type = "application/grpc-web" }, 415, 2,
		  "content-type" },
		{ "+proto", METHOD("Version"), "", 0, { .content_type = "application/grpc+proto" }, 200, 0, "" },
		{ "compressed", METHOD("Version"), "\1\0\0\0\0", 5, { .raw = true }, 200, 12, "compressed" },
		{ "a bad flag", METHOD("Version"), "\7\0\0\0\0", 5, { .raw = true }, 200, 3, "flag is 7" },
		{ "no message", METHOD("Version"), "", 0, { .raw = true }, 200, 3, "ended before" },
		{ "half a message", METHOD("Version"), "\0\0\0\0\5x", 6, { .raw = true }, 200, 3, "ended before" },
		{ "two messages", METHOD("Version"), "\0\0\0\0\0\0\0\0\0\0", 10, { .raw = true }, 200, 3,
		  "more than one message" },
		{ "16 MiB + 1 announced", METHOD("Version"), "\0\1\0\0\1", 5, { .raw = true, .open_end = true },
		  200, 8, "16777217 bytes" },
		{ "rubbish", METHOD("Version"), "\xff\xff\xff", 3, { 0 }, 200, 3, "broken protobuf" },
		{ "a wrong type", METHOD("Version"), "\x08\x01", 2, { 0 }, 200, 3, "VersionRequest" },
		{ "a NUL in a string", METHOD("ExecSync"), "\x0a\x03" "a\0b", 5, { 0 }, 200, 3, "container_id: holds a NUL" },
		{ "bad UTF-8", METHOD("ExecSync"), "\x12\x01\x80", 3, { 0 }, 200, 3, "cmd: not valid UTF-8" },
		{ "a bad timeout", METHOD("Version"), "", 0, { .timeout = "soon" }, 200, 3, "grpc-timeout: soon" },
		{ "no time", METHOD("Version"), "", 0, { .timeout = "0n" }, 200, 4, "deadline" },
	};
	struct client *c = open_client();
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct client_call *call = client_ask(c, rows[i].path, rows[i].body, rows[i].len, &rows[i].o);
		ok(call->closed && call->http_status == rows[i].http && call->code == rows[i].code &&
		   strstr(call->message, rows[i].message) && call->reset == 0,
		   "%s: %d, %d, %s", rows[i].name, call->http_status, call->code, call->message);
	}
	struct client_call *call = ask_exec(c, "\xc3\xa4", "fail", 0, NULL);
	ok(call->code == 5 && !strcmp(call->message, "100%25 gone:%0A%C3%A4") && !call->in.len,
	   "a failure's message is percent-encoded: %s", call->message);
	call = client_ask(c, METHOD("ShortEvents"), "", 0, NULL);
	size_t len;
	ok(call->code == 10 && client_message(call, 2, &len) && !client_message(call, 3, &len),
	   "a stream that fails after 3 messages");
	ok(c->fd >= 0 && client_ask(c, METHOD("Version"), "", 0, NULL)->code == 0,
	   "and the connection has stayed");
	client_close(c);
}

static void test_limits(void)
{
	struct client *c = open_client();
	struct client_call *call = ask_exec(c, "x", NULL, GRPC_MESSAGE_MAX - 20, NULL);
	size_t len;
	ok(call->code == 0 && client_message(call, 0, &len) && len > GRPC_MESSAGE_MAX - 20,
	   "a response of 16 MiB");
	call = ask_exec(c, "x", NULL, GRPC_MESSAGE_MAX, NULL);
	ok(call->code == 8 && strstr(call->message, "the limit is 16777216"), "... and above: %s", call->message);
	client_close(c);

	c = client_open(path, 0);
	call = ask_exec(c, "x", NULL, 8 << 20, NULL);
	ok(call->code == 0 && client_message(call, 0, &len) && len > 8 << 20,
	   "8 MiB through a window of 64 KiB, %d frames", call->data_frames);
	client_close(c);

	/* A whole 16 MiB in. */
	size_t n = GRPC_MESSAGE_MAX;
	char *big = malloc(n);
	memset(big, 'x', n);
	memcpy(big, "\x0a\xfb\xff\xff\x07", 5);	/* container_id: 16 MiB - 5 */
	c = open_client();
	call = client_ask(c, METHOD("ExecSync"), big, n, NULL);
	ok(call->code == 0, "a request of 16 MiB: %d %s", call->code, call->message);
	client_close(c);
	free(big);
}

/* What is held for requests that never end is bounded for a connection. */
static void test_held_requests(void)
{
	struct client *c = open_client();
	size_t n = 15 << 20;
	char *big = calloc(1, n);
	memcpy(big, "\0\0\xf0\0\0", 5);
	const struct client_options o = { .raw = true, .open_end = true };
	struct client_call *calls[6];
	int refused = 0;
	client_run(c, NULL, 0);	/* the preface, before 90 MiB are laid out: silent connections are closed */
	for (int i = 0; i < 6; i++)
		calls[i] = client_call(c, METHOD("ExecSync"), big, n - 1, &o);
	client_run(c, &calls[5]->closed, 60000);
	for (int i = 0; i < 6; i++)
		refused += calls[i]->closed && calls[i]->code == 8;
	ok(refused >= 1, "requests that never end are refused at some point: %d of 6", refused);
	client_close(c);
	free(big);
	ok(stat_becomes("connections", 1), "and their memory ends with the connection");
}

/* The same for responses that nobody reads. */
static void test_held_responses(void)
{
	struct client *c = client_open(path, 0);
	struct buf b = exec_request("x", NULL, 15 << 20);
	struct client_call *calls[6];
	int refused = 0;
	c->holding = true;
	client_run(c, NULL, 0);
	for (int i = 0; i < 6; i++)
		calls[i] = client_call(c, METHOD("ExecSync"), b.data, b.len, NULL);
	client_run(c, &calls[5]->closed, 60000);
	for (int i = 0; i < 6; i++)
		refused += calls[i]->closed && calls[i]->code == 8;
	ok(refused == 2, "responses of 15 MiB without a window: %d of 6 refused", refused);
	client_close(c);

	/* A window for all of them, and a socket that is not read. */
	c = client_open(path, 1 << 30);
	for (int i = 0; i < 6; i++) {
		calls[i] = client_call(c, METHOD("ExecSync"), b.data, b.len, NULL);
		client_run(c, NULL, 0);
		stat_of("sent");
	}
	refused = 0;
	for (int i = 0; i < 6; i++) {
		client_run(c, &calls[i]->closed, 60000);
		refused += calls[i]->closed && calls[i]->code == 8;
	}
	ok(refused >= 1 && refused <= 2, "... from a socket that is not read: %d of 6", refused);
	client_close(c);
	buf_free(&b);
}

static void test_deadline(void)
{
	long before = stat_of("cancelled");
	struct client *c = open_client();
	struct client_call *call = ask_exec(c, "x", "wait", 0, &(struct client_options){ .timeout = "50m" });
	ok(call->code == 4 && strstr(call->message, "deadline"), "the deadline answers: %s", call->message);
	ok(stat_of("cancelled") == before + 1, "and the handler is told");
	call = client_ask(c, METHOD("UpdateRuntimeConfig"), "", 0, &(struct client_options){ .timeout = "10S" });
	ok(call->code == 0, "an answer from the loop, in time");
	ok(stat_of("cancelled") == before + 1, "is no cancel");
	client_close(c);
}

static void test_cancel(void)
{
	long before = stat_of("cancelled");
	struct client *c = open_client();
	struct client_call *call = start_exec(c, "wait", NULL);
	client_run(c, NULL, 0);
	ok(stat_becomes("waiting", 1), "a call waits");
	client_reset(c, call, HTTP2_CANCEL);
	client_run(c, &call->closed, 1000);
	ok(stat_becomes("cancelled", before + 1) && stat_of("waiting") == 0, "RST_STREAM cancels it");
	for (int i = 0; i < 10; i++)
		start_exec(c, "wait", NULL);
	client_run(c, NULL, 0);
	ok(stat_becomes("waiting", 10), "ten calls wait");
	client_close(c);
	ok(stat_becomes("cancelled", before + 11) && stat_of("waiting") == 0,
	   "a lost connection cancels them");
}

static void test_packed(void)
{
	static const char mended[] = "\x0a\x05id\xef\xbf\xbd", plain[] = "\x0a\x02id";
	struct client *c = open_client();
	struct client_call *call = client_ask(c, METHOD("Packed"), "", 0, NULL);
	bool right = call->code == 0;
	for (size_t i = 0; i < 4; i++) {
		size_t len, want = i % 2 ? sizeof(plain) - 1 : sizeof(mended) - 1;
		const void *got = client_message(call, i, &len);
		right = right && got && len == want && !memcmp(got, i % 2 ? plain : mended, len);
	}
	ok(right, "messages packed once and sent twice, mended where they had to be");
	call = client_call(c, METHOD("Begun"), "", 0, NULL);
	for (int i = 0; i < 100 && !call->http_status; i++)
		client_run(c, NULL, 50);
	ok(call->http_status == 200 && !call->in.len && !call->closed, "a stream that has begun says so");
	client_close(c);
	ok(stat_becomes("waiting", 0), "and ends with its connection");
}

/* Nobody reads: what the server keeps is bounded, and once there is a reader all arrives. */
static void test_stalled_reader(void)
{
	long heap = stat_of("heap"), before = stat_of("sent");
	struct client *c = client_open(path, 0);
	c->holding = true;
	struct client_call *call = client_call(c, METHOD("GetContainerEvents"), "", 0, NULL);
	long now = stat_stays(c, "sent") - before, grown = stat_of("heap") - heap;
	ok(now > 64 && now < 1000, "a stalled reader stops the writer after %ld of 20000 messages", now);
	ok(grown < 1 << 20, "the server has grown by %ld bytes", grown);
	client_run(c, NULL, 200);
	ok(stat_of("sent") - before == now, "and stays so");
	client_resume(c);
	client_run(c, &call->closed, 60000);
	size_t len;
	ok(call->code == 0 && client_message(call, 19999, &len) && !client_message(call, 20000, &len),
	   "then all 20000 messages arrive");
	client_close(c);

	/* The same when the client does not even read its socket. */
	before = stat_of("sent");
	c = client_open(path, 64 << 20);
	call = client_call(c, METHOD("GetContainerEvents"), "", 0, NULL);
	client_run(c, NULL, 0);
	usleep(300000);
	now = stat_of("sent") - before;
	ok(now < 2000, "a socket that nobody reads stops it after %ld", now);
	client_run(c, &call->closed, 60000);
	ok(call->code == 0 && client_message(call, 19999, &len), "then all arrives");
	client_close(c);
	ok(stat_becomes("waiting", 0), "nothing waits");
}

static void test_flood(void)
{
	long before = stat_of("cancelled");
	struct client *c = client_open(path, 0);
	c->holding = true;
	struct client_call *call = client_call(c, METHOD("Flood"), "", 0, NULL);
	client_run(c, &call->closed, 60000);
	ok(call->closed && call->reset == HTTP2_ENHANCE_YOUR_CALM,
	   "a writer that does not mind back-pressure is cut off");
	ok(stat_becomes("cancelled", before + 1), "and told");
	ok(client_ask(c, METHOD("Version"), "", 0, NULL)->code == 0, "the connection goes on");
	client_close(c);
}

static void test_garbage(void)
{
	static const char *const garbage[] = {
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	};
	for (size_t i = 0; i < sizeof(garbage) / sizeof(*garbage); i++) {
		int fd = client_connect(path);
		ok(write(fd, garbage[i], strlen(garbage[i])) > 0 && client_sees_close(fd, 30000),
		   "garbage %zu is hung up on", i);
		close(fd);
	}
	struct client *c = open_client();
	client_run(c, NULL, 50);
	/* The head of a DATA frame of 100 bytes, and 3 of them. */
	struct client_call *call = start_exec(c, "wait", &(struct client_options){ .open_end = true });
	client_run(c, NULL, 50);
	ok(write(c->fd, "\0\0\x64\0\0\0\0\0\1abc", 12) == 12 && !call->closed, "half a frame is sent");
	client_close(c);
	ok(stat_becomes("connections", 1) && stat_of("waiting") == 0, "then closed: nothing stays");
	int silent = client_connect(path);
	ok(client_sees_close(silent, 30000), "a silent connection is hung up on");
	close(silent);
}

static void test_many(void)
{
	enum { MANY = 500 };
	struct client *c[MANY];
	int good = 0;
	long heap = stat_of("heap");
	for (int i = 0; i < MANY; i++)
		good += (c[i] = open_client()) && client_ask(c[i], METHOD("Version"), "", 0, NULL)->code == 0;
	ok(good == MANY, "%d connections answer", good);
	long each = (stat_of("heap") - heap) / MANY;
	ok(stat_becomes("connections", MANY + 1), "and stay");
	ok(each < 40 << 10, "an idle connection takes %ld bytes of heap", each);
	for (int i = 0; i < MANY; i++)
		client_close(c[i]);
	ok(stat_becomes("connections", 1), "all are gone");
	/* a connection is counted out before the end of the pass that frees it */
	long left = stat_of("heap") - heap;
	for (int i = 0; i < 100 && left >= 64 << 10; i++) {
		usleep(10000);
		left = stat_of("heap") - heap;
	}
	ok(left < 64 << 10, "so is their memory: %ld bytes more than before", left);
}

static void test_too_many(void)
{
	int fds[HTTP2_CONNECTIONS_MAX + 6], dropped = 0;
	for (int i = 0; i < HTTP2_CONNECTIONS_MAX + 6; i++)
		fds[i] = client_connect(path);
	for (int i = HTTP2_CONNECTIONS_MAX; i < HTTP2_CONNECTIONS_MAX + 6; i++)
		dropped += client_sees_close(fds[i], 30000);
	ok(dropped == 6, "what comes above %d connections is closed", HTTP2_CONNECTIONS_MAX);
	for (int i = 0; i < HTTP2_CONNECTIONS_MAX + 6; i++)
		close(fds[i]);
	ok(stat_becomes("connections", 1), "and there is room again");
}

static void test_shutdown(pid_t pid)
{
	struct client *c = open_client(), *idle = open_client(), *busy = open_client();
	struct client_call *call = client_call(c, METHOD("UpdateRuntimeConfig"), "", 0, NULL);
	client_run(c, NULL, 0);
	client_run(idle, NULL, 50);
	start_exec(busy, "wait", NULL);
	client_run(busy, NULL, 0);
	stat_becomes("waiting", 2);
	kill(pid, SIGUSR1);
	client_run(idle, &idle->goaway, 30000);
	ok(idle->goaway && client_sees_close(idle->fd, 30000), "shutdown: GOAWAY, and an idle connection ends");
	client_run(c, &call->closed, 60000);
	ok(c->goaway && call->closed && call->code == 0, "a running call ends well");
	ok(client_sees_close(c->fd, 30000), "then its connection ends");
	ok(client_connect(path) < 0, "nobody listens");
	int status;
	kill(pid, SIGTERM);
	ok(client_sees_close(busy->fd, 60000), "what still waits then ends with the server");
	ok(waitpid(pid, &status, 0) == pid && status == 0, "which has told all, and leaks nothing: %d", status);
	client_close(busy);
	client_close(c);
	client_close(idle);
}

static void test_listen(void)
{
	struct err e = { 0 };
	char at[80], longer[200];
	struct stat st;
	ok(sock_listen(path, 0660, &e) == -EADDRINUSE, "a living socket is not replaced: %s", err_text(&e));
	snprintf(at, sizeof(at), "%s.stale", path);
	mode_t mask = umask(0);
	int fd = sock_listen(at, 0660, NULL);
	ok(fd >= 0 && !stat(at, &st) && (st.st_mode & 07777) == 0660, "the socket's mode is 0660");
	close(fd);
	umask(0177);
	fd = sock_listen(at, 0660, NULL);
	ok(fd >= 0 && !stat(at, &st) && (st.st_mode & 07777) == 0660, "a stale one is replaced, whatever the umask");
	umask(mask);
	close(fd);
	unlink(at);
	err_clear(&e);
	ok(!mkdir(at, 0700) && sock_listen(at, 0660, &e) == -ENOTSOCK, "a directory is not: %s", err_text(&e));
	rmdir(at);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	ok(sock_listen(longer, 0660, NULL) == -ENAMETOOLONG, "a path that is too long");
}

static void wait_for_server(void)
{
	for (int i = 0; i < 1000; i++) {
		int fd = client_connect(path);
		if (fd >= 0) {
			close(fd);
			return;
		}
		usleep(5000);
	}
}

int main(int argc, char **argv)
{
	if (argc >= 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2], argc > 3 ? (uint64_t)atoi(argv[3]) : HTTP2_PREFACE_MS);
	char dir[] = "/tmp/crisp-grpc.XXXXXX";
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/sock", dir);
	struct rlimit nofile;
	getrlimit(RLIMIT_NOFILE, &nofile);
	nofile.rlim_cur = nofile.rlim_max;
	setrlimit(RLIMIT_NOFILE, &nofile);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		_exit(execl("/proc/self/exe", argv[0], "serve", path, "1000", NULL) < 0);
	wait_for_server();
	test_unary();
	test_refusals();
	test_limits();
	test_held_requests();
	test_held_responses();
	test_deadline();
	test_cancel();
	test_packed();
	test_stalled_reader();
	test_flood();
	test_garbage();
	test_many();
	test_too_many();
	test_listen();
	test_shutdown(pid);
	unlink(path);
	rmdir(dir);
	return done();
}
