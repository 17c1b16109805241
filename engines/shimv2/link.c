/*
 * ttrpc, the client's side: frames on a unix socket, each with the number of a stream.  Our
 * streams are odd and only grow.  Replies come in any order; one whose call has been given up is
 * dropped.  A shim may ignore deadlines, so each call has a timer here.
 *
 * A shim that speaks version 3 of the Task service knows no version 2 and the other way round: as
 * long as it has not answered, "unimplemented" means to try the other one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engines/shimv2/shimv2.h"

enum { STATUS_UNIMPLEMENTED = 12, LEAVE_MS = 2000 };

struct call {
	struct call *next;
	struct link *link;
	uint32_t stream;
	const char *method;
	uint8_t *payload;	/* for another try, until the version is proven */
	size_t len;
	struct crisp_timer *timer;
	reply_cb *cb;
	void *data;
};

int reply_errno(const struct reply *r)
{
	static const int codes[] = {
		[1] = ECANCELED, [2] = EIO, [3] = EINVAL, [4] = ETIMEDOUT, [5] = ENOENT, [6] = EEXIST,
		[7] = EPERM, [8] = EIO, [9] = EBUSY, [10] = EAGAIN, [12] = ENOSYS, [14] = EAGAIN,
	};
	if (r->code <= 0)
		return r->code;
	size_t n = sizeof(codes) / sizeof(codes[0]);
	return (size_t)r->code < n && codes[r->code] ? -codes[r->code] : -EIO;
}

/* -- frames -- */

void frame_head(uint8_t head[FRAME_HEAD], uint32_t len, uint32_t stream, uint8_t type)
{
	for (int i = 0; i < 4; i++) {
		head[i] = (uint8_t)(len >> (24 - 8 * i));
		head[4 + i] = (uint8_t)(stream >> (24 - 8 * i));
	}
	head[8] = type;
	head[9] = 0;
}

static uint32_t number(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int frame_parse(const uint8_t *data, size_t len, struct frame *f)
{
	if (len < FRAME_HEAD)
		return 0;
	*f = (struct frame){ .len = number(data), .stream = number(data + 4), .type = data[8],
			     .data = data + FRAME_HEAD };
	if (f->len > FRAME_MAX)
		return -EPROTO;
	return len < FRAME_HEAD + f->len ? 0 : (int)(FRAME_HEAD + f->len);
}

static void append(uint8_t **buf, size_t *len, size_t *cap, const void *data, size_t n)
{
	if (*len + n > *cap) {
		*cap = (*len + n) * 2;
		*buf = realloc(*buf, *cap);
		if (!*buf)
			abort();
	}
	if (n)
		memcpy(*buf + *len, data, n);
	*len += n;
}

/* -- calls -- */

static void call_free(struct call *c)
{
	struct call **at = &c->link->calls;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->link->inst->host->untimer(c->timer);
	free(c->payload);
	free(c);
}

static void call_end(struct call *c, const struct reply *r)
{
	reply_cb *cb = c->cb;
	void *data = c->data;
	call_free(c);
	cb(data, r);
}

static void handle_late(void *data)
{
	struct call *c = data;
	c->timer = NULL;
	call_end(c, &(struct reply){ .code = -ETIMEDOUT, .msg = "the shim doesn't answer" });
}

/* -- the loss of a link -- */

static void shut(struct link *l)
{
	if (l->fd < 0)
		return;
	l->inst->host->unwatch(l->watch);
	l->watch = NULL;
	close(l->fd);
	l->fd = -1;
}

static void wake_leavers(struct link *l)
{
	while (l->leavers) {
		struct act *a = l->leavers;
		l->leavers = a->next_waiting;
		a->then(a);
	}
}

static void unlink_socket(const struct link *l)
{
	struct sockaddr_un addr;
	unsigned len;
	if (unix_address(l->address, &addr, &len) == 0 && addr.sun_path[0])
		unlink(addr.sun_path);	/* one that was killed leaves it */
}

static void handle_lost(void *data)
{
	struct link *l = data;
	struct crisp_instance *i = l->inst;
	l->later = NULL;
	shut(l);
	unlink_socket(l);
	while (l->calls)
		call_end(l->calls, &(struct reply){ .code = -EHOSTDOWN, .msg = "the shim is dead" });
	tasks_lost(i, l);
	wake_leavers(l);
	link_free(l);
}

/* From within anything: callers find out later. */
static void lose(struct link *l)
{
	const struct crisp_host *h = l->inst->host;
	shut(l);
	h->untimer(l->later);
	l->later = h->defer(h, handle_lost, l);
}

/* -- bytes -- */

static void flush(struct link *l)
{
	while (l->out_len) {
		ssize_t n = send(l->fd, l->out, l->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			lose(l);
			return;
		}
		memmove(l->out, l->out + n, l->out_len - (size_t)n);
		l->out_len -= (size_t)n;
	}
	l->inst->host->watch_set(l->watch, CRISP_IO_READ | (l->out_len ? CRISP_IO_WRITE : 0));
}

static void transmit(struct call *c)
{
	struct link *l = c->link;
	uint8_t head[FRAME_HEAD];
	Shim__Request rq = SHIM__REQUEST__INIT;
	rq.service = (char *)(uintptr_t)(l->version >= 3 ? "containerd.task.v3.Task" : "containerd.task.v2.Task");
	rq.method = (char *)(uintptr_t)c->method;
	rq.payload = (ProtobufCBinaryData){ c->len, c->payload };
	size_t len = protobuf_c_message_get_packed_size(&rq.base);
	uint8_t *text = malloc(len + 1);
	if (!text)
		abort();
	protobuf_c_message_pack(&rq.base, text);
	c->stream = l->last_id += 2;
	frame_head(head, (uint32_t)len, c->stream, FRAME_REQUEST);
	append(&l->out, &l->out_len, &l->out_cap, head, FRAME_HEAD);
	append(&l->out, &l->out_len, &l->out_cap, text, len);
	free(text);
	flush(l);
}

static struct call *call_of(struct link *l, uint32_t stream)
{
	struct call *c = l->calls;
	while (c && c->stream != stream)
		c = c->next;
	return c;
}

static void handle_response(struct link *l, const struct frame *f)
{
	struct call *c = call_of(l, f->stream);
	if (!c)
		return;		/* too late */
	Shim__Response *r = (void *)protobuf_c_message_unpack(&shim__response__descriptor, NULL, f->len, f->data);
	if (!r) {
		call_end(c, &(struct reply){ .code = -EIO, .msg = "the shim's reply can't be read" });
		return;
	}
	int code = r->status ? r->status->code : 0;
	if (code == STATUS_UNIMPLEMENTED && !l->proven) {
		l->version = l->version >= 3 ? 2 : 3;
		l->proven = true;
		transmit(c);
	} else {
		l->proven = true;
		call_end(c, &(struct reply){ code, code ? r->status->message : "", r->payload.data, r->payload.len });
	}
	protobuf_c_message_free_unpacked(&r->base, NULL);
}

static void handle_input(struct link *l)
{
	size_t at = 0;
	struct frame f;
	int n = 0;
	while (l->fd >= 0 && (n = frame_parse(l->in + at, l->in_len - at, &f)) > 0) {
		if (f.type == FRAME_RESPONSE)
			handle_response(l, &f);
		at += (size_t)n;
	}
	l->in_len -= at;
	memmove(l->in, l->in + at, l->in_len);
	if (n < 0 && l->fd >= 0)
		lose(l);
}

static void handle_socket(void *data, uint32_t events)
{
	static uint8_t part[64 << 10];
	struct link *l = data;
	if (events & CRISP_IO_WRITE)
		flush(l);
	if (l->fd < 0 || !(events & CRISP_IO_READ))
		return;
	ssize_t n = recv(l->fd, part, sizeof(part), MSG_DONTWAIT);
	if (n > 0) {
		append(&l->in, &l->in_len, &l->in_cap, part, (size_t)n);
		handle_input(l);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		lose(l);
	}
}

/* -- links -- */

int unix_address(const char *address, void *sockaddr_un, unsigned *len)
{
	struct sockaddr_un *to = sockaddr_un;
	const char *path = strncmp(address, "unix://", 7) ? address : address + 7;
	bool abstract = path[0] != '/';
	size_t n = strlen(path);
	*to = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!n || n + 1 >= sizeof(to->sun_path) || (abstract && strchr(path, ':')))
		return -EINVAL;
	memcpy(to->sun_path + abstract, path, n);
	*len = (unsigned)(offsetof(struct sockaddr_un, sun_path) + abstract + n + !abstract);
	return 0;
}

static int dial(const char *address)
{
	struct sockaddr_un to;
	unsigned len;
	if (unix_address(address, &to, &len) < 0) {
		errno = EINVAL;
		return -1;
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&to, len) < 0) {
		int err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

struct link *link_get(struct crisp_instance *i, const char *address, int version)
{
	for (struct link *l = i->links; l; l = l->next)
		if (!strcmp(l->address, address) && l->fd >= 0 && !l->leaving)
			return l;
	int fd = dial(address);
	if (fd < 0)
		return NULL;
	struct link *l = calloc(1, sizeof(*l));
	if (!l)
		abort();
	l->inst = i;
	l->address = strdup(address);
	l->fd = fd;
	l->version = version;
	l->last_id = (uint32_t)-1;	/* the first is 1 */
	l->watch = i->host->watch_fd(i->host, fd, CRISP_IO_READ, handle_socket, l);
	l->next = i->links;
	i->links = l;
	return l;
}

void link_free(struct link *l)
{
	struct link **at = &l->inst->links;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	shut(l);
	l->inst->host->untimer(l->later);
	while (l->calls)
		call_free(l->calls);
	free(l->address);
	free(l->in);
	free(l->out);
	free(l);
}

void link_call(struct link *l, const char *method, const void *payload, size_t len, int64_t deadline_ns,
	       reply_cb *cb, void *data)
{
	const struct crisp_host *h = l->inst->host;
	struct call *c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	*c = (struct call){ .next = l->calls, .link = l, .method = method, .len = len, .cb = cb, .data = data };
	c->payload = malloc(len + 1);
	if (!c->payload)
		abort();
	if (len)
		memcpy(c->payload, payload, len);
	l->calls = c;
	if (deadline_ns) {
		int64_t left = (deadline_ns - h->now_ns(h)) / 1000000;
		c->timer = h->timer(h, left > 1 ? (uint64_t)left : 1, handle_late, c);
	}
	if (l->fd >= 0)		/* else its loss is about to be told */
		transmit(c);
}

void link_send(struct link *l, const char *method, const ProtobufCMessage *m, int64_t deadline_ns,
	       reply_cb *cb, void *data)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *text = malloc(len + 1);
	if (!text)
		abort();
	protobuf_c_message_pack(m, text);
	link_call(l, method, text, len, deadline_ns, cb, data);
	free(text);
}

void link_forget(struct link *l, const void *data)
{
	for (struct call *c = l->calls, *next; c; c = next) {
		next = c->next;
		if (c->data == data)
			call_free(c);
	}
}

/* -- leaving -- */

static void handle_left(void *data, const struct reply *r)
{
	struct link *l = data;
	l->stays = !r->code;	/* its end closes the connection, and so may be the answer */
}

/* It stays for containers that ended before we were there; whoever deletes the last of these tells
 * it again. */
static void handle_unleft(void *data)
{
	struct link *l = data;
	if (!l->stays) {
		handle_lost(l);
		return;
	}
	l->later = NULL;
	l->leaving = false;
	wake_leavers(l);
}

void link_leave(struct link *l, const char *id, struct act *a)
{
	const struct crisp_host *h = l->inst->host;
	if (a) {
		a->next_waiting = l->leavers;
		l->leavers = a;
	}
	if (l->leaving || l->fd < 0)
		return;
	l->leaving = true;
	l->stays = false;
	Shim__ShutdownRequest rq = SHIM__SHUTDOWN_REQUEST__INIT;
	rq.id = (char *)(uintptr_t)id;
	l->later = h->timer(h, LEAVE_MS, handle_unleft, l);
	link_send(l, "Shutdown", &rq.base, 0, handle_left, l);
}
