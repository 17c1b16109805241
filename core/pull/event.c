/* Events: see the header.  A core that has gone is noticed by the supervisor's poll, not here. */
#include "core/pull/event.h"

#include <string.h>

#include "core/base/buf.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/pull/layer.h"
#include "core/pull/request.h"

static struct json_out *begin(struct pool *p, const char *name)
{
	struct json_out *o = json_out(p);
	json_object(o);
	json_member_str(o, "event", name);
	return o;
}

static void end(int fd, struct json_out *o)
{
	size_t len;
	struct buf line = { 0 };
	json_end_object(o);
	const char *text = json_text(o, &len);
	buf_add(&line, text, len);
	buf_add(&line, "\n", 1);
	file_write_all(fd, line.data, line.len);
	buf_free(&line);
}

void event_progress(int fd, const char *stage, uint64_t done, uint64_t total, unsigned layers_done,
		    unsigned layers)
{
	struct pool *p = pool_new(NULL, "progress");
	struct json_out *o = begin(p, "progress");
	json_member_str(o, "stage", stage);
	json_member_int(o, "done", (int64_t)done);
	json_member_int(o, "total", (int64_t)total);
	json_member_int(o, "layers_done", layers_done);
	json_member_int(o, "layers", layers);
	end(fd, o);
	pool_destroy(p);
}

void event_layer(int fd, struct pool *p, const struct layer *l)
{
	struct json_out *o = begin(p, "layer");
	json_member_str(o, "dir", l->dir);
	json_member_str(o, "diff", l->diff);
	json_member_str(o, "blob", l->real_blob);
	json_member_str(o, "chain", l->bound_to_chain ? l->chain : "");
	json_member_int(o, "bytes", (int64_t)l->bytes);
	json_member_int(o, "inodes", (int64_t)l->inodes);
	end(fd, o);
}

void event_image(int fd, struct pool *p, const struct image_info *im)
{
	struct json_out *o = begin(p, "image");
	json_member_str(o, "id", im->id);
	json_member_str(o, "manifest", *im->manifest ? im->manifest : NULL);
	json_key(o, "names");
	json_array(o);
	for (size_t i = 0; i < im->n_names; i++)
		json_put_str(o, im->names[i]);
	json_end_array(o);
	json_member_int(o, "bytes", (int64_t)im->config_size);
	json_member_str(o, "config_file", im->config_file);
	json_member_str(o, "config", im->used);
	json_key(o, "layers");
	json_array(o);
	for (size_t i = 0; i < im->n_layers; i++) {
		const struct layer *l = im->layers[i];
		json_object(o);
		json_member_str(o, l->known ? "id" : "dir", l->known ? l->known->id : l->dir);
		json_end_object(o);
	}
	json_end_array(o);
	end(fd, o);
}

void event_done(int fd)
{
	static const char line[] = "{\"event\":\"done\"}\n";
	file_write_all(fd, line, sizeof(line) - 1);
}

void event_error(int fd, struct pool *p, const struct err *e)
{
	struct json_out *o = begin(p, "error");
	json_member_int(o, "code", e->code);
	json_member_str(o, "message", e->msg);
	end(fd, o);
}
