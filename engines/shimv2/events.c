/*
 * The socket on which shims tell what happens: a ttrpc server for the one method Forward.  Exits
 * are known by Wait; what is only told here is that memory ran out.
 *
 * The keeper has the socket too, so that shims are not refused while there is no core: they would
 * lose events, and gVisor's even dies of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engines/shimv2/shimv2.h"

#define KEY "events"

enum { PEERS_MAX = 1024, EVENT_MAX = 1 << 20 };

struct peer {
	struct peer *next;
	struct events *events;
	int fd;
	struct crisp_watch *watch;
	uint8_t *in;
	size_t len;
};

struct events {
	struct crisp_instance *inst;
	int fd;
	struct crisp_watch *watch;
	struct peer *peers;
	unsigned n;
};

void events_path(const struct crisp_instance *i, char path[SHIM_PATH_MAX])
{
	snprintf(path, SHIM_PATH_MAX, "%s/events.sock", i->host->state_dir);
}

static void peer_free(struct peer *p)
{
	struct peer **at = &p->events->peers;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->events->n--;
	p->events->inst->host->unwatch(p->watch);
	close(p->fd);
	free(p->in);
	free(p);
}

static void handle_oom(struct crisp_instance *i, const Shim__Any *any)
{
	Shim__TaskOOM *oom = (void *)protobuf_c_message_unpack(&shim__task_oom__descriptor, NULL, any->value.len,
							       any->value.data);
	if (oom)
		i->host->oom(i->host, oom->container_id);
	if (oom)
		protobuf_c_message_free_unpacked(&oom->base, NULL);
}

static void handle_forward(struct crisp_instance *i, const ProtobufCBinaryData *payload)
{
	Shim__ForwardRequest *f = (void *)protobuf_c_message_unpack(&shim__forward_request__descriptor, NULL,
								    payload->len, payload->data);
	if (f && f->envelope && f->envelope->event && !strcmp(f->envelope->topic, "/tasks/oom"))
		handle_oom(i, f->envelope->event);
	if (f)
		protobuf_c_message_free_unpacked(&f->base, NULL);
}

/* An empty answer to whatever it was: the shim would only repeat it. */
static bool handle_request(struct peer *p, const struct frame *f)
{
	uint8_t head[FRAME_HEAD];
	Shim__Request *rq = (void *)protobuf_c_message_unpack(&shim__request__descriptor, NULL, f->len, f->data);
	if (!rq)
		return false;
	if (!strcmp(rq->method, "Forward"))
		handle_forward(p->events->inst, &rq->payload);
	protobuf_c_message_free_unpacked(&rq->base, NULL);
	frame_head(head, 0, f->stream, FRAME_RESPONSE);
	return send(p->fd, head, sizeof(head), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(head);
}

static bool handle_bytes(struct peer *p)
{
	size_t at = 0;
	struct frame f;
	int n;
	while ((n = frame_parse(p->in + at, p->len - at, &f)) > 0) {
		if (f.type == FRAME_REQUEST && !handle_request(p, &f))
			return false;
		at += (size_t)n;
	}
	p->len -= at;
	memmove(p->in, p->in + at, p->len);
	return n == 0;
}

static void handle_peer(void *data, uint32_t events)
{
	static uint8_t part[64 << 10];
	struct peer *p = data;
	ssize_t n = recv(p->fd, part, sizeof(part), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || p->len + (size_t)n > EVENT_MAX) {
		peer_free(p);
		return;
	}
	p->in = realloc(p->in, p->len + (size_t)n);
	if (!p->in)
		abort();
	memcpy(p->in + p->len, part, (size_t)n);
	p->len += (size_t)n;
	if (!handle_bytes(p))
		peer_free(p);
}

static void handle_connection(void *data, uint32_t events)
{
	struct events *ev = data;
	const struct crisp_host *h = ev->inst->host;
	int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (ev->n >= PEERS_MAX) {
		close(fd);
		return;
	}
	struct peer *p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	*p = (struct peer){ .next = ev->peers, .events = ev, .fd = fd };
	ev->peers = p;
	ev->n++;
	p->watch = h->watch_fd(h, fd, CRISP_IO_READ, handle_peer, p);
}

static int listen_on(const char *path, char *msg, uint32_t cap)
{
	struct sockaddr_un addr;
	unsigned len;
	if (unix_address(path, &addr, &len) < 0) {
		snprintf(msg, cap, "the state directory's path is too long for a socket: %.200s", path);
		return -ENAMETOOLONG;
	}
	unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&addr, len) == 0 && listen(fd, 128) == 0)
		return fd;
	int err = errno;
	snprintf(msg, cap, "listen on %.200s: %s", path, strerror(err));
	if (fd >= 0)
		close(fd);
	return -err;
}

int events_open(struct crisp_instance *i, char *msg, uint32_t cap)
{
	char path[SHIM_PATH_MAX];
	events_path(i, path);
	int fd = access(path, F_OK) == 0 ? i->host->kept_fd(i->host, KEY) : -ENOENT;
	if (fd < 0)
		fd = listen_on(path, msg, cap);
	if (fd < 0)
		return fd;
	i->host->keep_fd(i->host, KEY, fd);
	struct events *ev = calloc(1, sizeof(*ev));
	if (!ev)
		abort();
	ev->inst = i;
	ev->fd = fd;
	ev->watch = i->host->watch_fd(i->host, fd, CRISP_IO_READ, handle_connection, ev);
	i->events = ev;
	return 0;
}

void events_close(struct crisp_instance *i)
{
	struct events *ev = i->events;
	if (!ev)
		return;
	while (ev->peers)
		peer_free(ev->peers);
	i->host->unwatch(ev->watch);
	close(ev->fd);
	free(ev);
	i->events = NULL;
}
