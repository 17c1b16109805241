/* gRPC's small parts: framing, timeouts, status messages, the table of codes, string checks. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/base/utf8.h"
#include "core/grpc/frame.h"
#include "core/grpc/grpc.h"
#include "core/grpc/message.h"
#include "core/grpc/status.h"
#include "proto/cri.pb-c.h"
#include "t/tap.h"

static struct pool *pool;

static void test_frames(void)
{
	unsigned char bytes[5 + 300];
	frame_prefix(bytes, 300);
	memset(bytes + 5, 'x', 300);
	for (size_t step = 1; step < 306; step += 101) {
		struct frame f = { 0 };
		int ret = 0;
		bool early = false;
		for (size_t at = 0; at < sizeof(bytes) && !ret; at += step) {
			early |= frame_whole(&f);
			ret = frame_take(&f, bytes + at, at + step < 305 ? step : 305 - at, NULL);
		}
		ok(!ret && !early && frame_whole(&f) && f.body.len == 300, "a message in pieces of %zu", step);
		ok(frame_take(&f, "x", 1, NULL) == -EINVAL, "a byte too many");
		frame_free(&f);
	}
	struct frame f = { 0 };
	ok(!frame_whole(&f) && !frame_take(&f, "\0\0\0\0\0", 5, NULL) && frame_whole(&f), "an empty message");
	frame_free(&f);

	static const struct {
		const char *prefix;
		int want;
		const char *name;
	} prefixes[] = {
		{ "\1\0\0\0\0", -EOPNOTSUPP, "compressed" },
		{ "\2\0\0\0\0", -EINVAL, "unknown flag" },
		{ "\0\1\0\0\0", 0, "16 MiB" },
		{ "\0\1\0\0\1", -E2BIG, "16 MiB + 1" },
		{ "\0\xff\xff\xff\xff", -E2BIG, "4 GiB" },
	};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		struct err e = { 0 };
		struct frame g = { 0 };
		int ret = frame_take(&g, prefixes[i].prefix, 5, &e);
		ok(ret == prefixes[i].want && !g.body.cap, "%s: %s", prefixes[i].name, err_text(&e));
		frame_free(&g);
	}
}

static void test_timeouts(void)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
		{ "1H", 3600000 }, { "2M", 120000 }, { "3S", 3000 }, { "100m", 100 }, { "1u", 1 },
		{ "1500u", 2 }, { "1n", 1 }, { "99999999n", 100 }, { "0n", 0 }, { "0S", 0 },
		{ "99999999H", 99999999ll * 3600000 },
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		int64_t ms = -1;
		ok(!status_timeout(good[i].text, &ms) && ms == good[i].ms, "timeout %s is %lld ms",
		   good[i].text, (long long)good[i].ms);
	}
	static const char *const bad[] = { "", "S", "1", "1s", "-1S", "1 S", "100000000n", "1SS", " 1S" };
	int64_t ms;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ok(status_timeout(bad[i], &ms) == -EINVAL, "'%s' is no timeout", bad[i]);
}

static void test_status(void)
{
	static const struct {
		int errno_class, code;
	} table[] = {
		{ EINVAL, 3 }, { ENOENT, 5 }, { EEXIST, 6 }, { ETIMEDOUT, 4 }, { ECANCELED, 1 },
		{ ENOSYS, 12 }, { EOPNOTSUPP, 12 }, { EBUSY, 9 }, { EAGAIN, 14 }, { EHOSTDOWN, 14 },
		{ ENOMEM, 8 }, { ENOSPC, 8 }, { E2BIG, 8 }, { EMFILE, 8 }, { EPERM, 7 }, { EACCES, 7 },
		{ EIO, 2 }, { 0, 2 },
	};
	int wrong = 0;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		wrong += status_code(table[i].errno_class) != table[i].code;
	ok(!wrong, "errno classes have their codes");
	ok(!strcmp(status_name(5), "NotFound") && !strcmp(status_name(16), "Unauthenticated") &&
	   !strcmp(status_name(17), "?") && !strcmp(status_name(-1), "?"), "names of codes");

	const char *m = status_message(pool, "50% of \xc3\xa4\n~ \x7f");
	ok(!strcmp(m, "50%25 of %C3%A4%0A~ %7F"), "percent-encoding: %s", m);
	m = status_message(pool, "a\xff" "b");
	ok(!strcmp(m, "a%EF%BF%BDb"), "a bad byte becomes U+FFFD: %s", m);
	char longer[STATUS_MESSAGE_MAX + 10];
	memset(longer, 'x', sizeof(longer));
	memcpy(longer + STATUS_MESSAGE_MAX - 1, "\xc3\xa4", 2);
	longer[sizeof(longer) - 1] = 0;
	m = status_message(pool, longer);
	ok(strlen(m) == STATUS_MESSAGE_MAX - 1, "cut before a character, not within: %zu", strlen(m));
}

static int check(const void *bytes, size_t n, struct err *e)
{
	err_clear(e);
	return message_check(&cri__run_pod_sandbox_request__descriptor, bytes, n, e);
}

/* config (1) > metadata (1) > name (1) of RunPodSandboxRequest. */
static void test_strings(void)
{
	struct err e = { 0 };
	ok(!check("", 0, &e), "an empty message");
	ok(!check("\x0a\x05\x0a\x03\x0a\x01x", 7, &e), "a nested string");
	ok(check("\x0a\x05\x0a\x03\x0a\x01\xff", 7, &e) == -EINVAL &&
	   !strcmp(e.msg, "config.metadata.name: not valid UTF-8"), "bad UTF-8: %s", err_text(&e));
	ok(check("\x0a\x05\x0a\x03\x0a\x01\0", 7, &e) == -EINVAL &&
	   !strcmp(e.msg, "config.metadata.name: holds a NUL byte"), "a NUL: %s", err_text(&e));
	/* A bad byte at each place of a longer string. */
	char text[30];
	int found = 0;
	for (size_t at = 0; at < sizeof(text); at++) {
		memset(text, 'x', sizeof(text));
		text[at] = (char)0xff;
		found += utf8_valid(text, sizeof(text)) == at;
	}
	memset(text, 'x', sizeof(text));
	ok(found == sizeof(text) && utf8_valid(text, sizeof(text)) == sizeof(text), "any place: %d", found);
	ok(check("\x0a\x06\x0a\x03\x0a\x01x", 7, &e) == -EINVAL &&
	   !strcmp(e.msg, "message: broken protobuf encoding"), "a length beyond the end: %s", err_text(&e));
	ok(check("\x0a\x03\x0a\x03\x0a", 5, &e) == -EINVAL &&
	   !strcmp(e.msg, "config: broken protobuf encoding"), "... inside: %s", err_text(&e));
	/* labels (6) of the config: map entries are messages. */
	ok(check("\x0a\x05\x32\x03\x0a\x01\xc0", 7, &e) == -EINVAL &&
	   !strcmp(e.msg, "config.labels.key: not valid UTF-8"), "a map's key: %s", err_text(&e));
	ok(!check("\xa2\x06\x01\xff", 4, &e), "unknown fields may hold anything");
	ok(check("\x0b\x0c", 2, &e) == -EINVAL, "groups");
	ok(check("\x00\x01", 2, &e) == -EINVAL, "field number 0");
	ok(check("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, &e) == -EINVAL, "an endless varint");
	ok(check("\x8a", 1, &e) == -EINVAL, "a key cut short");
}

static void test_depth(void)
{
	/* A message type that holds itself, as none of the CRI's does. */
	static ProtobufCMessageDescriptor self;
	static const ProtobufCFieldDescriptor fields[] = { {
		.name = "self", .id = 1, .label = PROTOBUF_C_LABEL_NONE,
		.type = PROTOBUF_C_TYPE_MESSAGE, .descriptor = &self,
	} };
	static const ProtobufCIntRange ranges[] = { { 1, 0 }, { 0, 1 } };
	self = (ProtobufCMessageDescriptor){ .fields = fields, .n_fields = 1, .n_field_ranges = 1,
					     .field_ranges = ranges };
	unsigned char bytes[2 * MESSAGE_DEPTH_MAX];
	for (int i = 0; i < MESSAGE_DEPTH_MAX; i++) {
		bytes[2 * i] = 0x0a;
		bytes[2 * i + 1] = (unsigned char)(2 * (MESSAGE_DEPTH_MAX - 1 - i));
	}
	struct err e = { 0 };
	ok(!message_check(&self, bytes + 2, sizeof(bytes) - 2, &e), "%d levels", MESSAGE_DEPTH_MAX);
	ok(message_check(&self, bytes, sizeof(bytes), &e) == -EINVAL && strstr(e.msg, "nested too deeply"),
	   "one more");
}

static void test_unpack(void)
{
	ProtobufCMessage *m;
	size_t used;
	struct err e = { 0 };
	const ProtobufCMessageDescriptor *d = &cri__run_pod_sandbox_request__descriptor;
	int ret = message_unpack(d, pool, "\x0a\x05\x0a\x03\x0a\x01x\x12\x01y", 10, &m, &used, &e);
	Cri__RunPodSandboxRequest *r = (Cri__RunPodSandboxRequest *)m;
	ok(!ret && !strcmp(r->config->metadata->name, "x") && !strcmp(r->runtime_handler, "y") && used,
	   "unpacked into the pool");
	ok(message_unpack(d, pool, "\x08\x01", 2, &m, &used, &e) == -EINVAL, "wrong wire type: %s", err_text(&e));

	/* Two bytes a mount, hundreds when unpacked. */
	struct pool *p = pool_new(pool, "bomb");
	size_t n = 4 << 20;
	char *bomb = pool_alloc(p, n);
	for (size_t i = 0; i < n; i += 2)
		bomb[i] = 0x0a;	/* ListPodSandboxResponse.items */
	err_clear(&e);
	ret = message_unpack(&cri__list_pod_sandbox_response__descriptor, p, bomb, n, &m, &used, &e);
	ok(ret == -ENOMEM && used <= MESSAGE_MEMORY_MAX, "memory is bounded: %s", err_text(&e));
	pool_destroy(p);
}

static void test_clean(void)
{
	char bad[] = "a\xff", good[] = "fine", key[] = "k\xc0", value[] = "v";
	char *names[] = { good, bad };
	Cri__PodSandboxMetadata meta = CRI__POD_SANDBOX_METADATA__INIT;
	meta.name = bad;
	meta.uid = good;
	Cri__PodSandboxConfig config = CRI__POD_SANDBOX_CONFIG__INIT;
	Cri__DNSConfig dns = CRI__DNSCONFIG__INIT;
	dns.n_servers = 2;
	dns.servers = names;
	Cri__PodSandboxConfig__LabelsEntry label = CRI__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT;
	Cri__PodSandboxConfig__LabelsEntry *labels[] = { &label };
	label.key = key;
	label.value = value;
	config.metadata = &meta;
	config.dns_config = &dns;
	config.n_labels = 1;
	config.labels = labels;
	message_clean(pool, &config.base);
	ok(!strcmp(meta.name, "a\xef\xbf\xbd") && meta.uid == good, "a nested string");
	ok(!strcmp(names[1], "a\xef\xbf\xbd") && names[0] == good, "a repeated string");
	ok(!strcmp(label.key, "k\xef\xbf\xbd") && label.value == value, "a map entry");
}

int main(void)
{
	pool = pool_new(NULL, "test");
	test_frames();
	test_timeouts();
	test_status();
	test_strings();
	test_depth();
	test_unpack();
	test_clean();
	pool_destroy(pool);
	return done();
}
