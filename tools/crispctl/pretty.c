/* Two small printers; neither checks, both are given what our own writer made. */
#include "tools/crispctl/pretty.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/json.h"

static void new_line(FILE *out, int depth)
{
	fprintf(out, "\n%*s", depth * 2, "");
}

void pretty_json(FILE *out, const char *text, size_t n)
{
	bool in_string = false;
	int depth = 0;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (in_string) {
			fputc(c, out);
			if (c == '\\' && i + 1 < n)
				fputc(text[++i], out);
			else if (c == '"')
				in_string = false;
		} else if (c == '{' || c == '[') {
			fputc(c, out);
			if (i + 1 < n && text[i + 1] == c + 2)	/* ASCII: '[' + 2 is ']' */
				fputc(text[++i], out);
			else
				new_line(out, ++depth);
		} else if (c == '}' || c == ']') {
			new_line(out, --depth);
			fputc(c, out);
		} else if (c == ',') {
			fputc(c, out);
			new_line(out, depth);
		} else if (c == ':') {
			fputs(": ", out);
		} else {
			in_string = c == '"';
			fputc(c, out);
		}
	}
	fputc('\n', out);
}

/* Would YAML read this plain word back as the same string? */
static bool is_plain(const char *s)
{
	static const char *const words[] = {
		"true", "false", "null", "~", "yes", "no", "on", "off"
	};
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (!strcasecmp(s, words[i]))
			return false;
	if (!isalpha((unsigned char)*s) && *s != '/')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("/._-@+", *s) &&
		    !(*s == ':' && s[1] && s[1] != ' '))
			return false;
	return true;
}

static void put_word(FILE *out, const char *s)
{
	if (is_plain(s)) {
		fputs(s, out);
		return;
	}
	fputc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		if ((unsigned char)*s < ' ')
			fprintf(out, "\\x%02x", *s);
		else
			fputc(*s, out);
	}
	fputc('"', out);
}

static void put_number_or_bool(FILE *out, const struct json *j)
{
	if (json_is_null(j))
		fputs("null", out);
	else if (json_bool(j, false) || !json_bool(j, true))
		fputs(json_bool(j, false) ? "true" : "false", out);
	else
		fprintf(out, "%" PRId64, json_int(j, 0));
}

static void put_yaml(FILE *out, const struct json *j, int depth)
{
	bool list = json_is_array(j);
	if (json_str(j)) {
		put_word(out, json_str(j));
	} else if (!list && !json_is_object(j)) {
		put_number_or_bool(out, j);
	} else if (json_len(j) == 0) {
		fputs(list ? "[]" : "{}", out);
	} else {
		for (size_t i = 0; i < json_len(j); i++) {
			const struct json *v = json_at(j, i);
			if (depth || i)
				new_line(out, depth);
			if (list)
				fputc('-', out);
			else
				put_word(out, json_key_at(j, i));
			fputs(list ? " " : json_len(v) ? ":" : ": ", out);
			put_yaml(out, v, depth + 1);
		}
	}
}

void pretty_yaml(FILE *out, const struct json *j)
{
	put_yaml(out, j, 0);
	fputc('\n', out);
}
