/*
 * Connections of the streaming server.
 *
 *	HEAD ──upgrade──▶ WIRE ──wire_finish()──▶ CLOSING ──flushed, and the client has closed──▶ gone
 *
 * A request that is no good is answered in HTTP and the connection closed.  The client, who closes
 * last, loses nothing that was sent; one that doesn't is left after a while.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/model/model.h"
#include "core/sock/sock.h"
#include "core/stream/http.h"
#include "core/stream/session.h"
#include "core/stream/spdy.h"
#include "core/stream/stream.h"
#include "core/stream/ticket.h"
#include "core/stream/ws.h"

enum {
	CONNS_MAX = 1000,
	BACKLOG = 128,
	HEAD_MAX = 16 << 10,
	HEAD_MS = 30000,
	CLOSING_MS = 10000,
	PORTS_MAX = 64,
};

struct stream_server {
	struct stream_ground g;
	struct pool *pool;
	struct tickets *tickets;
	struct sock_listener listener;
	char host[INET6_ADDRSTRLEN + 2];
	unsigned port, n_conns;
};

enum conn_state { CONN_STATE_HEAD, CONN_STATE_WIRE, CONN_STATE_CLOSING };

struct conn {
	struct pool_res res;
	struct pool *pool;
	struct stream_server *server;
	struct sock sock;
	enum conn_state state;
	struct loop_timer patience;
	struct loop_defer flush;
	struct buf head;
	struct ticket *ticket;
	struct wire *wire;
	struct ws *ws;		/* NULL: the wire is SPDY */
};

/* -- the end of a connection -- */

static void conn_drop(struct conn *c)
{
	sock_stop(&c->sock);
	loop_defer_cancel(&c->flush);
	loop_timer_stop(&c->patience);
	loop_destroy_later(c->server->g.loop, c->pool);
}

static void handle_impatient(struct loop_timer *t)
{
	conn_drop(t->data);
}

static void close_ours(struct conn *c)
{
	shutdown(c->sock.fd->fd, SHUT_WR);
}

/* Everything is said: the rest is read and dropped until the client closes. */
static void conn_close(void *to)
{
	struct conn *c = to;
	c->state = CONN_STATE_CLOSING;
	sock_hold(&c->sock, false);
	sock_flush(&c->sock, false);
	if (!sock_queued(&c->sock))
		close_ours(c);
	loop_timer_start(&c->patience, c->server->g.loop, c->pool, CLOSING_MS, 0, handle_impatient, c);
}

/* -- a wire's pipe -- */

static void handle_flush(struct loop_defer *d)
{
	struct conn *c = d->data;
	sock_flush(&c->sock, false);
}

static void conn_send(void *to, const void *bytes, size_t n)
{
	struct conn *c = to;
	sock_add(&c->sock, bytes, n);
	loop_defer(c->server->g.loop, &c->flush, handle_flush, c);
}

static void conn_hold(void *to, bool hold)
{
	sock_hold(&((struct conn *)to)->sock, hold);
}

static size_t conn_queued(void *to)
{
	return sock_queued(&((struct conn *)to)->sock);
}

static struct wire_pipe conn_pipe(struct conn *c)
{
	return (struct wire_pipe){ conn_send, conn_hold, conn_queued, conn_close, c };
}

/* -- the request -- */

static void answer(struct conn *c, const char *status, const char *more, const char *text)
{
	const char *head = pool_printf(c->pool,
				       "HTTP/1.1 %s\r\n%sContent-Type: text/plain\r\nContent-Length: %zu\r\n"
				       "Connection: close\r\n\r\n%s\n",
				       status, more, strlen(text) + 1, text);
	conn_send(c, head, strlen(head));
	conn_close(c);
}

static void answer_upgrade(struct conn *c, const char *to, const char *more)
{
	const char *head = pool_printf(c->pool,
				       "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n"
				       "%s\r\n", to, more);
	conn_send(c, head, strlen(head));
	c->state = CONN_STATE_WIRE;
}

/* The client's first that we know. */
static const char *choose(struct conn *c, const char *offer, int *version)
{
	static const char *const remote[] = { "channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io",
					      "v4.channel.k8s.io" };
	static const char *const ports[] = { "portforward.k8s.io" };
	bool is_ports = c->ticket->kind == TICKET_KIND_PORTS;
	const char *const *known = is_ports ? ports : remote;
	for (const char *at = offer; *at;) {
		at += strspn(at, ", \t");
		size_t n = strcspn(at, ", \t");
		for (int i = 0; i < (is_ports ? 1 : 4); i++) {
			*version = i + 1;
			if (n == strlen(known[i]) && !strncmp(at, known[i], n))
				return known[i];
		}
		at += n;
	}
	return NULL;
}

static void upgrade_to_spdy(struct conn *c, const struct http_head *h)
{
	int version;
	const char *offer = http_header(h, "X-Stream-Protocol-Version");
	if (!offer) {
		answer(c, "400 Bad Request", "", "X-Stream-Protocol-Version: is missing");
		return;
	}
	const char *chosen = choose(c, offer, &version);
	if (!chosen) {
		answer(c, "403 Forbidden",
		       c->ticket->kind == TICKET_KIND_PORTS ?
			       "X-Accepted-Stream-Protocol-Versions: portforward.k8s.io\r\n" :
			       "X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io, v3.channel.k8s.io, "
			       "v2.channel.k8s.io, channel.k8s.io\r\n",
		       "X-Stream-Protocol-Version: none of these is known");
		return;
	}
	answer_upgrade(c, "SPDY/3.1", pool_printf(c->pool, "X-Stream-Protocol-Version: %s\r\n", chosen));
	const struct wire_pipe pipe = conn_pipe(c);
	c->wire = spdy_new(c->server->g.loop, c->pool, &pipe, version);
}

static void upgrade_to_ws(struct conn *c, const struct http_head *h)
{
	char accept[29];
	const char *key = http_header(h, "Sec-WebSocket-Key"), *version = http_header(h, "Sec-WebSocket-Version");
	if (!key || !version || strcmp(version, "13")) {
		answer(c, "400 Bad Request", "Sec-WebSocket-Version: 13\r\n",
		       "Sec-WebSocket-Key, Sec-WebSocket-Version: expected a key and 13");
		return;
	}
	const struct ws_protocol *p = ws_protocol(http_header(h, "Sec-WebSocket-Protocol"), c->ticket->kind);
	if (!p) {
		answer(c, "403 Forbidden", "", "Sec-WebSocket-Protocol: none of these is known");
		return;
	}
	ws_accept(key, accept);
	const char *more = pool_printf(c->pool, "Sec-WebSocket-Accept: %s\r\n%s%s%s", accept,
				       *p->name ? "Sec-WebSocket-Protocol: " : "", p->name, *p->name ? "\r\n" : "");
	answer_upgrade(c, "websocket", more);
	const struct wire_pipe pipe = conn_pipe(c);
	c->ws = ws_new(c->server->g.loop, c->pool, &pipe, p, c->ticket);
	c->wire = ws_wire(c->ws);
}

/* "/exec/TOKEN" */
static struct ticket *find_ticket(struct stream_server *s, const char *path)
{
	char kind[16] = "";
	const char *slash = *path == '/' ? strchr(path + 1, '/') : NULL;
	if (!slash || (size_t)(slash - path) > sizeof(kind))
		return NULL;
	memcpy(kind, path + 1, (size_t)(slash - path) - 1);
	return ticket_take(s->tickets, kind, slash + 1);
}

static void take_request(struct conn *c, const struct http_head *h)
{
	const char *method = http_method(h), *upgrade = http_header(h, "Upgrade");
	if (strcmp(method, "GET") && strcmp(method, "POST")) {
		answer(c, "405 Method Not Allowed", "Allow: GET, POST\r\n", "expected GET or POST");
		return;
	}
	c->ticket = find_ticket(c->server, http_path(h));
	if (!c->ticket) {
		answer(c, "404 Not Found", "", "this URL is not known; each is good for one use, within a minute");
		return;
	}
	if (http_has_word(upgrade, "websocket"))
		upgrade_to_ws(c, h);
	else if (http_has_word(upgrade, "SPDY/3.1"))
		upgrade_to_spdy(c, h);
	else
		answer(c, "400 Bad Request", "", "Upgrade: expected SPDY/3.1 or websocket");
	if (!c->wire)
		return;
	loop_timer_stop(&c->patience);
	(c->ticket->kind == TICKET_KIND_PORTS ? forward_begin : remote_begin)(&c->server->g, c->wire, c->ticket);
	if (c->ws)
		ws_begin(c->ws);
}

/* -- bytes -- */

static void take_bytes(struct conn *c, const void *bytes, size_t n)
{
	struct err e = { 0 };
	int ret = c->ws ? ws_receive(c->ws, bytes, n, &e) : spdy_receive(c->wire, bytes, n, &e);
	if (ret == 0 || c->state != CONN_STATE_WIRE)
		return;
	if (ret != -EPIPE)
		log_info("a stream's client was cut off", "error", err_text(&e));
	wire_gone(c->wire);
	conn_close(c);
}

static void take_head(struct conn *c, const void *bytes, size_t n)
{
	struct err e = { 0 };
	struct http_head *h;
	buf_add(&c->head, bytes, n);
	size_t len = http_head_len(c->head.data, c->head.len);
	if (!len && c->head.len < HEAD_MAX)
		return;
	if (!len || len > HEAD_MAX)
		err_set(&e, EINVAL, "the request's head has over %d bytes", HEAD_MAX);
	else
		http_head_parse(c->pool, c->head.data, len, &h, &e);
	if (e.code) {
		answer(c, "400 Bad Request", "", err_text(&e));
		return;
	}
	take_request(c, h);
	if (c->state == CONN_STATE_WIRE && c->head.len > len)
		take_bytes(c, c->head.data + len, c->head.len - len);
	buf_free(&c->head);
}

static void handle_received(struct sock *s, const void *bytes, size_t n)
{
	struct conn *c = s->data;
	if (c->state == CONN_STATE_HEAD)
		take_head(c, bytes, n);
	else if (c->state == CONN_STATE_WIRE)
		take_bytes(c, bytes, n);
}

static void handle_drained(struct sock *s)
{
	struct conn *c = s->data;
	if (c->state == CONN_STATE_CLOSING)
		close_ours(c);
	else if (c->state == CONN_STATE_WIRE)
		wire_drained(c->wire);
}

static void handle_closed(struct sock *s, const struct err *why)
{
	struct conn *c = s->data;
	if (c->state == CONN_STATE_WIRE)
		wire_gone(c->wire);
	conn_drop(c);
}

static const struct sock_handler conn_handler = {
	.received = handle_received, .drained = handle_drained, .closed = handle_closed,
};

/* -- the listener -- */

static void release_conn(struct pool_res *r)
{
	struct conn *c = container_of(r, struct conn, res);
	c->server->n_conns--;
	buf_free(&c->head);
	if (c->ticket)
		pool_destroy(c->ticket->pool);
}

static void handle_accepted(struct sock_listener *sl, int fd)
{
	struct stream_server *s = sl->data;
	if (s->n_conns == CONNS_MAX) {
		log_warn("too many streams at once", "most", log_num(CONNS_MAX));
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	struct pool *pool = pool_new(s->pool, "stream");
	struct conn *c = pool_new_struct(pool, struct conn);
	c->pool = pool;
	c->server = s;
	s->n_conns++;
	pool_res_add(pool, &c->res, release_conn);
	sock_start(&c->sock, s->g.loop, pool, fd, &conn_handler, c);
	loop_timer_start(&c->patience, s->g.loop, pool, HEAD_MS, 0, handle_impatient, c);
}

static int listen_at(struct stream_server *s, const char *address, int port, struct err *e)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
		return err_set(e, EINVAL, "stream.address: \"%s\" is no IP address", address);
	struct sockaddr *at = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	socklen_t len = is_v4 ? sizeof(v4) : sizeof(v6);
	auto_close int fd = socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, "stream.address: make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(fd, at, len) < 0 || listen(fd, BACKLOG) < 0 || getsockname(fd, at, &len) < 0)
		return err_sys(e, "stream.address: listen on %s, port %d", address, port);
	s->port = ntohs(is_v4 ? v4.sin_port : v6.sin6_port);
	snprintf(s->host, sizeof(s->host), is_v4 ? "%s" : "[%s]", address);
	int ours = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (ours < 0)
		return err_sys(e, "stream.address: keep the socket");
	sock_listener_start(&s->listener, s->g.loop, s->pool, ours, handle_accepted, s);
	return 0;
}

int stream_server_open(struct pool *p, const struct stream_ground *g, const char *address, int port,
		       struct stream_server **out, struct err *e)
{
	struct stream_server *s = pool_new_struct(p, struct stream_server);
	s->g = *g;
	s->pool = p;
	s->tickets = tickets_new(g->loop, p);
	*out = s;
	return listen_at(s, address, port, e);
}

/* -- URLs -- */

static const char *url_of(const struct stream_server *s, struct pool *p, const struct ticket *t)
{
	return pool_printf(p, "http://%s:%u/%s/%s", s->host, s->port, ticket_kind_name(t->kind), t->token);
}

static int check_streams(const struct live_want *w, struct err *e)
{
	if (w->tty && w->err)
		return err_set(e, EINVAL, "stderr: true together with tty, which has no stderr of its own");
	if (!w->in && !w->out && !w->err)
		return err_set(e, EINVAL, "stdin, stdout, stderr: expected at least one");
	return 0;
}

/* A ticket for a container that runs. */
static int remote_ticket(struct stream_server *s, enum ticket_kind kind, const char *id,
			 const struct live_want *want, struct ticket **out, struct err *e)
{
	if (!*id)
		return err_set(e, EINVAL, "container_id: is empty");
	int ret = check_streams(want, e);
	if (ret == 0)
		ret = model_can_stream(s->g.model, id, e);
	if (ret == 0)
		ret = ticket_new(s->tickets, kind, out, e);
	if (ret < 0)
		return ret;
	(*out)->id = pool_strdup((*out)->pool, model_container(s->g.model, id)->id);
	(*out)->want = *want;
	return 0;
}

int stream_exec(struct stream_server *s, struct pool *p, const Cri__ExecRequest *rq, const char **url,
		struct err *e)
{
	struct ticket *t;
	const struct live_want want = { .in = rq->stdin, .out = rq->stdout, .err = rq->stderr, .tty = rq->tty };
	if (!rq->n_cmd)
		return err_set(e, EINVAL, "cmd: is empty, expected a command");
	int ret = remote_ticket(s, TICKET_KIND_EXEC, rq->container_id, &want, &t, e);
	if (ret < 0)
		return ret;
	t->cmd = pool_alloc(t->pool, (rq->n_cmd + 1) * sizeof(*t->cmd));
	for (size_t i = 0; i < rq->n_cmd; i++)
		t->cmd[i] = pool_strdup(t->pool, rq->cmd[i]);
	*url = url_of(s, p, t);
	return 0;
}

int stream_attach(struct stream_server *s, struct pool *p, const Cri__AttachRequest *rq, const char **url,
		  struct err *e)
{
	struct ticket *t;
	const struct live_want want = { .in = rq->stdin, .out = rq->stdout, .err = rq->stderr, .tty = rq->tty };
	int ret = remote_ticket(s, TICKET_KIND_ATTACH, rq->container_id, &want, &t, e);
	if (ret == 0)
		*url = url_of(s, p, t);
	return ret;
}

int stream_port_forward(struct stream_server *s, struct pool *p, const Cri__PortForwardRequest *rq,
			const char **url, struct err *e)
{
	struct ticket *t;
	if (!*rq->pod_sandbox_id)
		return err_set(e, EINVAL, "pod_sandbox_id: is empty");
	const struct pod *pod = model_pod(s->g.model, rq->pod_sandbox_id);
	if (!pod)
		return err_set(e, ENOENT, "pod_sandbox_id \"%s\": no such pod", rq->pod_sandbox_id);
	if (pod->state != POD_STATE_READY)
		return err_set(e, EBUSY, "pod_sandbox_id %s: the pod is not ready", pod->id);
	if (rq->n_port > PORTS_MAX)
		return err_set(e, EINVAL, "port: %zu of them, at most %d are taken", rq->n_port, PORTS_MAX);
	for (size_t i = 0; i < rq->n_port; i++)
		if (rq->port[i] < 1 || rq->port[i] > 65535)
			return err_set(e, EINVAL, "port[%zu]: %d, expected 1 to 65535", i, rq->port[i]);
	int ret = ticket_new(s->tickets, TICKET_KIND_PORTS, &t, e);
	if (ret < 0)
		return ret;
	t->id = pool_strdup(t->pool, pod->id);
	t->n_ports = rq->n_port;
	t->ports = pool_alloc(t->pool, (rq->n_port + 1) * sizeof(*t->ports));
	for (size_t i = 0; i < rq->n_port; i++)
		t->ports[i] = (unsigned)rq->port[i];
	*url = url_of(s, p, t);
	return 0;
}
