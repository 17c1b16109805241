#pragma once
/* JSON, read as a tree and written again with changes. */
#include <stdint.h>

#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

/* A member of an object; NULL when there is none, or v is no object. */
yajl_val json_member(yajl_val v, const char *name);
/* Its text; "" when there is none. */
const char *json_text(yajl_val v, const char *name);
/* v as an integer. */
int64_t json_number(yajl_val v, int64_t missing);

void json_put_text(yajl_gen g, const char *s);
/* v as it is. */
void json_put(yajl_gen g, yajl_val v);
