/* libyaml's document, turned into our tree with its limits checked. */
#include "core/config/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/base/utf8.h"

enum { BYTES_MAX = 1 << 20, VALUES_MAX = 20000, DEPTH_MAX = 32 };

struct reading {
	struct pool *pool;
	const char *file;
	yaml_document_t *doc;
	bool *seen;	/* by node id - 1 */
	size_t values;
	struct err *e;
};

static int fail_at(const char *file, int line, struct err *e, const char *fmt, va_list ap)
{
	char msg[400];
	vsnprintf(msg, sizeof(msg), fmt, ap);
	if (line > 0)
		return err_set(e, EINVAL, "%s:%d: %s", file, line, msg);
	return err_set(e, EINVAL, "%s: %s", file, msg);
}

int tree_err(const struct tree *t, struct err *e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int ret = fail_at(t->file, t->line, e, fmt, ap);
	va_end(ap);
	return ret;
}

__attribute__((format(printf, 3, 4)))
static int fail(struct reading *r, int line, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int ret = fail_at(r->file, line, r->e, fmt, ap);
	va_end(ap);
	return ret;
}

static int line_of(const yaml_node_t *n)
{
	return n->start_mark.line + 1;
}

static bool is_one_of(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (!strcmp(s, *words))
			return true;
	return false;
}

/* [-] int [frac] [exp] as JSON has it; what YAML has beyond that (0x1f, .inf) stays a string. */
static enum tree_kind number_kind(const char *s)
{
	s += *s == '-';
	if (*s == '0' && s[1] >= '0' && s[1] <= '9')
		return TREE_STR;
	size_t n = strspn(s, "0123456789");
	if (n == 0)
		return TREE_STR;
	s += n;
	if (!*s)
		return TREE_INT;
	if (*s == '.') {
		n = strspn(++s, "0123456789");
		if (n == 0)
			return TREE_STR;
		s += n;
	}
	if (*s == 'e' || *s == 'E') {
		s++;
		s += *s == '+' || *s == '-';
		n = strspn(s, "0123456789");
		if (n == 0)
			return TREE_STR;
		s += n;
	}
	return *s ? TREE_STR : TREE_FLOAT;
}

static enum tree_kind plain_kind(const char *s)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
	static const char *const bools[] = { "true",  "True",  "TRUE",
					     "false", "False", "FALSE", NULL };
	if (is_one_of(s, nulls))
		return TREE_NULL;
	return is_one_of(s, bools) ? TREE_BOOL : number_kind(s);
}

/* What YAML takes unescaped: no control characters, no byte order mark. */
bool tree_is_text(const char *s, size_t n)
{
	if (utf8_valid(s, n) < n)
		return false;
	const unsigned char *b = (const unsigned char *)s, *end = b + n;
	for (; b < end; b++) {
		if ((*b < ' ' && *b != '\t' && *b != '\n' && *b != '\r') || *b == 0x7f)
			return false;
		if (*b == 0xc2 && b[1] < 0xa0 && b[1] != 0x85)
			return false;
		if (*b == 0xef && ((b[1] == 0xbb && b[2] == 0xbf) || (b[1] == 0xbf && b[2] > 0xbd)))
			return false;
	}
	return true;
}

static int read_text(struct reading *r, const yaml_node_t *n, const char **out)
{
	const char *s = (const char *)n->data.scalar.value;
	size_t len = n->data.scalar.length;
	if (!tree_is_text(s, len))
		return fail(r, line_of(n), "a control character in a string");
	*out = pool_strndup(r->pool, s, len);
	return 0;
}

static int read_value(struct reading *r, int id, int depth, struct tree **out);

static int read_list(struct reading *r, const yaml_node_t *n, int depth, struct tree *t)
{
	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top;
	     i++) {
		struct tree *v;
		int ret = read_value(r, *i, depth, &v);
		if (ret < 0)
			return ret;
		tree_add(r->pool, t, NULL, v->line, v);
	}
	return 0;
}

static int read_map(struct reading *r, const yaml_node_t *n, int depth, struct tree *t)
{
	for (yaml_node_pair_t *i = n->data.mapping.pairs.start; i < n->data.mapping.pairs.top;
	     i++) {
		const yaml_node_t *kn = yaml_document_get_node(r->doc, i->key);
		const char *key;
		struct tree *v;
		if (!kn || kn->type != YAML_SCALAR_NODE)
			return fail(r, kn ? line_of(kn) : t->line, "a key must be a plain word");
		int ret = read_text(r, kn, &key);
		if (ret < 0)
			return ret;
		for (size_t k = 0; k < t->n; k++)
			if (!strcmp(t->members[k].key, key))
				return fail(r, line_of(kn),
					    "key \"%s\" is there twice, first on line %d", key,
					    t->members[k].line);
		ret = read_value(r, i->value, depth, &v);
		if (ret < 0)
			return ret;
		tree_add(r->pool, t, key, line_of(kn), v);
	}
	return 0;
}

static bool is_default_tag(const yaml_node_t *n)
{
	const char *tag = (const char *)n->tag;
	return !tag || !strcmp(tag, n->type == YAML_SCALAR_NODE	  ? YAML_DEFAULT_SCALAR_TAG :
				    n->type == YAML_SEQUENCE_NODE ? YAML_DEFAULT_SEQUENCE_TAG :
								    YAML_DEFAULT_MAPPING_TAG);
}

static int read_value(struct reading *r, int id, int depth, struct tree **out)
{
	const yaml_node_t *n = yaml_document_get_node(r->doc, id);
	if (!n)
		return fail(r, 0, "a value is missing");
	int line = line_of(n);
	if (r->seen[id - 1])	/* copies of copies grow without end */
		return fail(r, line, "an anchor is used a second time: aliases are not supported");
	r->seen[id - 1] = true;
	if (depth > DEPTH_MAX)
		return fail(r, line, "nested deeper than %d", DEPTH_MAX);
	if (++r->values > VALUES_MAX)
		return fail(r, line, "more than %d values", VALUES_MAX);
	if (!is_default_tag(n))
		return fail(r, line, "tag \"%s\": tags are not supported", n->tag);
	struct tree *t = pool_new_struct(r->pool, struct tree);
	t->file = r->file;
	t->line = line;
	*out = t;
	switch (n->type) {
	case YAML_SEQUENCE_NODE:
		t->kind = TREE_LIST;
		return read_list(r, n, depth + 1, t);
	case YAML_MAPPING_NODE:
		t->kind = TREE_MAP;
		return read_map(r, n, depth + 1, t);
	default:;
		int ret = read_text(r, n, &t->text);
		if (ret < 0)
			return ret;
		t->kind = n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_kind(t->text)
									  : TREE_STR;
		return 0;
	}
}

static int fail_parse(struct reading *r, const yaml_parser_t *y)
{
	const char *why = y->problem ? y->problem : "no memory";
	if (y->error == YAML_READER_ERROR)
		return fail(r, 0, "byte %zu: %s", y->problem_offset, why);
	if (y->context)
		return fail(r, y->problem_mark.line + 1, "bad YAML %s (line %zu): %s", y->context,
			    y->context_mark.line + 1, why);
	return fail(r, y->problem_mark.line + 1, "bad YAML: %s", why);
}

static int read_documents(struct reading *r, yaml_parser_t *y, struct tree **out)
{
	yaml_document_t doc;
	int ret = 0;
	for (int n = 0;; n++) {
		if (!yaml_parser_load(y, &doc))
			return fail_parse(r, y);
		r->doc = &doc;
		r->seen = pool_alloc(r->pool, doc.nodes.top - doc.nodes.start);
		const yaml_node_t *root = yaml_document_get_root_node(&doc);
		if (root && n > 0)
			ret = fail(r, line_of(root), "a second document; one file is one document");
		else if (root)
			ret = read_value(r, 1, 0, out);
		yaml_document_delete(&doc);
		if (!root || ret < 0)
			return ret;
	}
}

int tree_parse(struct pool *p, const char *file, const char *text, size_t len, struct tree **out,
	       struct err *e)
{
	struct reading r = { .pool = p, .file = file, .e = e };
	*out = NULL;
	if (len > BYTES_MAX)
		return fail(&r, 0, "%zu bytes are too many, the limit is %d", len, BYTES_MAX);
	yaml_parser_t y;
	if (!yaml_parser_initialize(&y))
		abort();
	yaml_parser_set_input_string(&y, (const unsigned char *)text, len);
	int ret = read_documents(&r, &y, out);
	yaml_parser_delete(&y);
	if (ret == 0 && !*out) {
		*out = pool_new_struct(p, struct tree);
		(*out)->file = file;
	}
	return ret;
}

int tree_load(struct pool *p, const char *file, struct tree **out, struct err *e)
{
	struct buf b = { 0 };
	int ret = file_read(AT_FDCWD, file, BYTES_MAX, &b, e);
	if (ret == 0)
		ret = tree_parse(p, file, b.data ? b.data : "", b.len, out, e);
	buf_free(&b);
	return ret;
}

struct tree *tree_new_map(struct pool *p, const char *file)
{
	struct tree *t = pool_new_struct(p, struct tree);
	t->kind = TREE_MAP;
	t->file = file;
	return t;
}

void tree_add(struct pool *p, struct tree *t, const char *key, int line, struct tree *value)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 8;
		struct tree_member *m = pool_alloc(p, cap * sizeof(*m));
		if (t->n)
			memcpy(m, t->members, t->n * sizeof(*m));
		t->members = m;
		t->cap = cap;
	}
	t->members[t->n++] = (struct tree_member){ .key = key, .line = line, .value = value };
}

static struct tree_member *find(const struct tree *t, const char *key)
{
	for (size_t i = 0; t && t->kind == TREE_MAP && i < t->n; i++)
		if (!strcmp(t->members[i].key, key))
			return &t->members[i];
	return NULL;
}

const struct tree *tree_get(const struct tree *t, const char *key)
{
	const struct tree_member *m = find(t, key);
	return m && m->value->kind != TREE_NULL ? m->value : NULL;
}

const char *tree_str(const struct tree *t)
{
	return t && t->kind == TREE_STR ? t->text : NULL;
}

bool tree_is_true(const struct tree *t)
{
	return t && t->kind == TREE_BOOL && (t->text[0] == 't' || t->text[0] == 'T');
}

int tree_int(const struct tree *t, int64_t *out)
{
	if (!t || t->kind != TREE_INT)
		return -ERANGE;
	errno = 0;
	*out = strtoll(t->text, NULL, 10);
	return -errno;
}

const char *tree_kind_name(enum tree_kind k)
{
	static const char *const names[] = {
		[TREE_NULL] = "nothing",	 [TREE_BOOL] = "a boolean", [TREE_INT] = "a number",
		[TREE_FLOAT] = "a fraction", [TREE_STR] = "a string",	    [TREE_LIST] = "a list",
		[TREE_MAP] = "a mapping",
	};
	_Static_assert(sizeof(names) / sizeof(*names) == TREE_MAP + 1, "a name for each kind");
	return names[k];
}

struct tree *tree_merge(struct pool *p, struct tree *base, struct tree *over)
{
	if (!over)
		return base;
	if (!base || base->kind != TREE_MAP || over->kind != TREE_MAP)
		return over;
	struct tree *t = pool_new_struct(p, struct tree);
	*t = *over;
	t->members = NULL;
	t->n = t->cap = 0;
	for (size_t i = 0; i < base->n; i++) {
		const struct tree_member *m = &base->members[i], *o = find(over, m->key);
		tree_add(p, t, m->key, o ? o->line : m->line,
			 tree_merge(p, m->value, o ? o->value : NULL));
	}
	for (size_t i = 0; i < over->n; i++)
		if (!find(base, over->members[i].key))
			tree_add(p, t, over->members[i].key, over->members[i].line,
				 over->members[i].value);
	return t;
}

void tree_json(const struct tree *t, struct json_out *o)
{
	int64_t n;
	switch (t->kind) {
	case TREE_NULL:
		json_put_null(o);
		break;
	case TREE_BOOL:
		json_put_bool(o, tree_is_true(t));
		break;
	case TREE_INT:
	case TREE_FLOAT:
		if (tree_int(t, &n) == 0)
			json_put_int(o, n);
		else
			json_put_number(o, t->text);
		break;
	case TREE_STR:
		json_put_str(o, t->text);
		break;
	case TREE_LIST:
		json_array(o);
		for (size_t i = 0; i < t->n; i++)
			tree_json(t->members[i].value, o);
		json_end_array(o);
		break;
	case TREE_MAP:
		json_object(o);
		for (size_t i = 0; i < t->n; i++) {
			json_key(o, t->members[i].key);
			tree_json(t->members[i].value, o);
		}
		json_end_object(o);
		break;
	}
}
