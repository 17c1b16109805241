/* HTTP: see the header. */
#include "core/pull/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/file.h"

enum { ERROR_BODY_MAX = 64 << 10, HEADERS_MAX = 16 << 10, CONNECT_MS = 15000, REDIRECTS_MAX = 10,
       PAUSED_MAX = 64 };

struct http {
	CURLM *multi;
	struct list calls;
	uint64_t stall_ms;
	int64_t moved_ns;	/* when the last byte came */
};

struct http *http_new(uint64_t stall_ms)
{
	struct http *h = calloc(1, sizeof(*h));
	if (!h || curl_global_init(CURL_GLOBAL_DEFAULT))
		abort();
	h->multi = curl_multi_init();
	if (!h->multi)
		abort();
	h->stall_ms = stall_ms;
	h->moved_ns = clock_mono_ns();
	list_init(&h->calls);
	curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS, 8L);
	return h;
}

void http_free(struct http *h)
{
	struct http_call *c;
	list_for_each(c, &h->calls, link)
		http_end(h, c);
	curl_multi_cleanup(h->multi);
	free(h);
}

/* -- what curl calls -- */

static size_t handle_body(char *bytes, size_t size, size_t n, void *data)
{
	struct http_call *c = data;
	struct http *h;
	long status = 0;
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(c->easy, CURLINFO_PRIVATE, (char **)&h);
	c->status = (int)status;
	h->moved_ns = clock_mono_ns();
	n *= size;
	bool good = status >= 200 && status < 300;
	if (good && c->sink) {
		int ret = c->sink(c, bytes, n);
		c->paused = ret == HTTP_PAUSE;
		return ret == HTTP_PAUSE ? CURL_WRITEFUNC_PAUSE : ret < 0 ? 0 : (size_t)ret;
	}
	size_t max = good ? c->max : ERROR_BODY_MAX;
	if (c->body.len + n > max) {
		if (good) {
			err_set(&c->err, EINVAL, "the answer is larger than %zu bytes", max);
			return 0;
		}
		return n;	/* an error page: its start will do */
	}
	buf_add(&c->body, bytes, n);
	return n;
}

static bool header_is(const char *line, size_t n, const char *name, const char **value, size_t *len)
{
	size_t k = strlen(name);
	if (n <= k || strncasecmp(line, name, k) || line[k] != ':')
		return false;
	const char *end = line + n;
	for (line += k + 1; line < end && (*line == ' ' || *line == '\t');)
		line++;
	while (end > line && strchr("\r\n \t", end[-1]))
		end--;
	*value = line;
	*len = (size_t)(end - line);
	return true;
}

static void put_text(char *out, size_t size, const char *value, size_t len)
{
	snprintf(out, size, "%.*s", (int)(len < size ? len : size - 1), value);
}

static size_t handle_header(char *line, size_t size, size_t n, void *data)
{
	struct http_call *c = data;
	const char *value;
	char text[64];
	size_t len;
	n *= size;
	if (n > 5 && !strncmp(line, "HTTP/", 5)) {
		/* A redirect's headers are not the answer's. */
		c->challenges.len = 0;
		c->content_type[0] = c->digest[0] = 0;
		c->retry_after = 0;
		c->range_from = 0;
	} else if (header_is(line, n, "www-authenticate", &value, &len)) {
		if (c->challenges.len + len < HEADERS_MAX) {
			buf_add(&c->challenges, value, len);
			buf_add(&c->challenges, "\n", 1);
		}
	} else if (header_is(line, n, "content-type", &value, &len)) {
		put_text(c->content_type, sizeof(c->content_type), value, len);
	} else if (header_is(line, n, "docker-content-digest", &value, &len)) {
		put_text(c->digest, sizeof(c->digest), value, len);
	} else if (header_is(line, n, "retry-after", &value, &len)) {
		put_text(text, sizeof(text), value, len);
		c->retry_after = atoi(text);	/* a date counts as not said */
	} else if (header_is(line, n, "content-range", &value, &len) && len > 6) {
		put_text(text, sizeof(text), value + 6, len - 6);
		c->range_from = strtoull(text, NULL, 10);
	}
	return n;
}

/* -- calls -- */

static void add_header(struct http_call *c, const char *name, const char *value)
{
	struct buf b = { 0 };
	if (!value)
		return;
	buf_printf(&b, "%s: %s", name, value);
	c->headers = curl_slist_append(c->headers, b.data);
	buf_free(&b);
}

void http_start(struct http *h, struct http_call *c)
{
	CURL *easy = curl_easy_init();
	char range[32];
	if (!easy)
		abort();
	c->easy = easy;
	c->finished = c->paused = c->unreachable = false;
	c->status = c->ret = 0;
	c->body.len = c->challenges.len = 0;
	c->curl_error[0] = 0;
	err_clear(&c->err);
	add_header(c, "Authorization", c->authorization);
	add_header(c, "Accept", c->accept);
	curl_easy_setopt(easy, CURLOPT_URL, c->url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, c->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "crisp-pull");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, c->plain ? "http,https" : "https");
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, c->plain ? "http,https" : "https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 512L << 10);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->curl_error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, handle_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, handle_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, h);
	if (c->post)
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, c->post);
	if (c->from) {
		snprintf(range, sizeof(range), "%llu-", (unsigned long long)c->from);
		curl_easy_setopt(easy, CURLOPT_RANGE, range);
	}
	list_append(&h->calls, &c->link);
	h->moved_ns = clock_mono_ns();
	curl_multi_add_handle(h->multi, easy);
}

static void drop_easy(struct http *h, struct http_call *c)
{
	if (!c->easy)
		return;
	list_del(&c->link);
	curl_multi_remove_handle(h->multi, c->easy);
	curl_easy_cleanup(c->easy);
	curl_slist_free_all(c->headers);
	c->easy = c->headers = NULL;
}

void http_end(struct http *h, struct http_call *c)
{
	drop_easy(h, c);
	buf_free(&c->body);
	buf_free(&c->challenges);
}

static void finish(struct http *h, struct http_call *c, CURLcode code)
{
	long status = 0;
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	c->status = (int)status;
	c->finished = true;
	if (c->err.code) {
		c->ret = -c->err.code;
	} else if (code != CURLE_OK) {
		c->unreachable = code == CURLE_COULDNT_RESOLVE_HOST ||
				 code == CURLE_COULDNT_CONNECT ||
				 code == CURLE_COULDNT_RESOLVE_PROXY ||
				 (code == CURLE_OPERATION_TIMEDOUT && !status);
		bool tls = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR;
		const char *advice = code == CURLE_SSL_CONNECT_ERROR ?
			" (if it is a registry without TLS, say so in registries.plain_http)" :
			c->unreachable ? " (see to the registry's name and port, and to the node's way there)" : "";
		/* Asking again does not make a certificate better. */
		c->ret = err_set(&c->err, tls ? EPROTO : EIO, "%s%s",
				 *c->curl_error ? c->curl_error : curl_easy_strerror(code), advice);
	}
	drop_easy(h, c);
}

static struct http_call *call_of(struct http *h, CURL *easy)
{
	struct http_call *c;
	list_for_each(c, &h->calls, link)
		if (c->easy == easy)
			return c;
	return NULL;
}

/* -- turns -- */

static size_t watch_paused(struct http *h, struct curl_waitfd *fds)
{
	size_t n = 0;
	struct http_call *c;
	list_for_each(c, &h->calls, link) if (c->paused && n < PAUSED_MAX) fds[n++] =
		(struct curl_waitfd){ .fd = c->pause_fd, .events = CURL_WAIT_POLLOUT };
	return n;
}

static void wake_paused(struct http *h, const struct curl_waitfd *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct http_call *c;
		if (!fds[i].revents)
			continue;
		list_for_each(c, &h->calls, link) {
			if (!c->paused || c->pause_fd != fds[i].fd)
				continue;
			c->paused = false;
			curl_easy_pause(c->easy, CURLPAUSE_CONT); /* may pause again at once */
			break;
		}
	}
}

int http_turn(struct http *h, int timeout_ms, int fd, struct err *e)
{
	struct curl_waitfd fds[PAUSED_MAX + 1];
	int running, left;
	size_t n = watch_paused(h, fds);
	if (fd >= 0)
		fds[n] = (struct curl_waitfd){ .fd = fd, .events = CURL_WAIT_POLLIN };
	if (curl_multi_poll(h->multi, fds, (unsigned)(n + (fd >= 0)), timeout_ms, NULL))
		return err_set(e, EIO, "poll for the network failed");
	wake_paused(h, fds, n);
	curl_multi_perform(h->multi, &running);
	for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));) {
		struct http_call *c = call_of(h, m->easy_handle);
		if (m->msg == CURLMSG_DONE && c)
			finish(h, c, m->data.result);
	}
	/* Held up by us: that is no stall.  Nothing to do: neither. */
	if (n || list_empty(&h->calls))
		h->moved_ns = clock_mono_ns();
	if (clock_mono_ns() - h->moved_ns > (int64_t)h->stall_ms * 1000000)
		return err_set(e, ETIMEDOUT, "the registry has sent nothing for %llu s",
			       (unsigned long long)h->stall_ms / 1000);
	return 0;
}

int http_do(struct http *h, struct http_call *c, struct err *e)
{
	int ret = 0, running;
	http_start(h, c);
	curl_multi_perform(h->multi, &running);
	while (!c->finished && ret == 0)
		ret = http_turn(h, 1000, -1, e);
	return ret;
}

char *http_escape(const char *text)
{
	char *curl_text = curl_easy_escape(NULL, text, 0),
	     * out = curl_text ? strdup(curl_text) : NULL;
	if (!out)
		abort();
	curl_free(curl_text);
	return out;
}
