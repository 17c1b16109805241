#pragma once
/* The `info` maps of verbose answers: values that are JSON are written as such. */
struct ctl;
struct json_out;

void info_put(struct ctl *c, struct json_out *o, const char *key, const char *value);

/* resp: any answer with an info map. */
#define INFO_PUT(c, o, resp)                                                                       \
	do {                                                                                       \
		json_key(o, "info");                                                               \
		json_object(o);                                                                    \
		for (size_t i_ = 0; i_ < (resp)->n_info; i_++)                                     \
			info_put(c, o, (resp)->info[i_]->key, (resp)->info[i_]->value);            \
		json_end_object(o);                                                                \
	} while (0)
