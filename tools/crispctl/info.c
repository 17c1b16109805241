/* See the header. */
#include "tools/crispctl/info.h"

#include <string.h>

#include "core/base/json.h"
#include "tools/crispctl/crispctl.h"

void info_put(struct ctl *c, struct json_out *o, const char *key, const char *value)
{
	const struct json *j;
	json_key(o, key);
	if (strchr("{[\"", *value) && json_parse(c->pool, value, strlen(value), &j, NULL) == 0)
		json_put(o, j);
	else
		json_put_str(o, value);
}
