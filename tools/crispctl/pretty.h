#pragma once
/* JSON text for people: indented, or as YAML. */
#include <stddef.h>
#include <stdio.h>

struct json;

/* text is compact JSON, as core/base/json writes it. */
void pretty_json(FILE *out, const char *text, size_t n);
void pretty_yaml(FILE *out, const struct json *j);
