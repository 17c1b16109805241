/* Manifests: see the header. */
#include "core/pull/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/digest.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/image/pullwire.h"
#include "core/pull/digest.h"

enum { STRINGS_MAX = 10000 };

static const uint64_t layer_size_max = 1ull << 40;

#if defined(__x86_64__)
static const char *const architectures[] = { "amd64", "386", NULL };
#elif defined(__aarch64__)
static const char *const architectures[] = { "arm64", NULL };
#else
#error "name this machine's architectures"
#endif

int descriptor_parse(struct pool *p, const struct json *j, const char *what, struct descriptor *out,
		     struct err *e)
{
	const char *digest = json_str(json_get(j, "digest"));
	const char *type = json_str(json_get(j, "mediaType"));
	int64_t size = json_int(json_get(j, "size"), -1);
	if (!digest || !digest_valid(digest))
		return err_set(e, EINVAL, "%s: digest is missing or malformed", what);
	if (size < 0 || (uint64_t)size > layer_size_max)
		return err_set(e, EINVAL, "%s: size is missing or out of range", what);
	*out = (struct descriptor){
		.media_type = pool_strdup(p, type ? type : ""),
		.digest = pool_strdup(p, digest),
		.size = (uint64_t)size,
	};
	return 0;
}

/* How well a platform fits: 0 not at all, else more is better. */
static int platform_score(const struct json *platform)
{
	const char *os = json_str(json_get(platform, "os"));
	const char *arch = json_str(json_get(platform, "architecture"));
	const char *variant = json_str(json_get(platform, "variant"));
	if (!os || strcmp(os, "linux") || !arch)
		return 0;
	int score = 0;
	for (int i = 0; architectures[i]; i++)
		if (!strcmp(arch, architectures[i]))
			score = 10 - 2 * i;
	/* amd64/v3 runs on some machines only: what is for all of them is the safe choice. */
	bool plain = !variant || !*variant || !strcmp(variant, "v1") || !strcmp(variant, "v8");
	return score && plain ? score + 1 : score;
}

bool manifest_platform_fits(const struct json *platform)
{
	return !platform || platform_score(platform) > 0;
}

static int parse_index(struct pool *p, const struct json *manifests, struct manifest *out,
		       struct err *e)
{
	struct buf seen = { 0 };
	const struct json *best = NULL;
	int best_score = 0;
	for (size_t i = 0; i < json_len(manifests) && i < STRINGS_MAX; i++) {
		const struct json *j = json_at(manifests, i), *platform = json_get(j, "platform");
		const char *os = json_str(json_get(platform, "os"));
		const char *arch = json_str(json_get(platform, "architecture"));
		/* Without a platform it may be a nested index. */
		int score = platform ? platform_score(platform) : 1;
		if (score > best_score) {
			best = j;
			best_score = score;
		}
		if (os && arch && strcmp(os, "unknown") && seen.len < 200)
			buf_printf(&seen, "%s%s/%s", seen.len ? ", " : "", os, arch);
	}
	int ret = best ? descriptor_parse(p, best, "index", &out->chosen, e)
		       : err_set(e, ENOENT, "the index has no image for linux/%s; it has %s",
				 architectures[0], seen.len ? seen.data : "none at all");
	buf_free(&seen);
	out->is_index = true;
	return ret;
}

static bool layer_type_known(const char *type)
{
	static const char *const prefixes[] = {
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
	};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		size_t n = strlen(prefixes[i]);
		if (!strncmp(type, prefixes[i], n) &&
		    (!type[n] || !strcmp(type + n, ".gzip") || !strcmp(type + n, "+gzip") ||
		     !strcmp(type + n, ".zstd") || !strcmp(type + n, "+zstd")))
			return true;
	}
	return false;
}

static int parse_image(struct pool *p, const struct json *j, struct manifest *out, struct err *e)
{
	const struct json *layers = json_get(j, "layers");
	int ret = descriptor_parse(p, json_get(j, "config"), "manifest: config", &out->config, e);
	if (ret < 0)
		return ret;
	if (strcmp(out->config.media_type, "application/vnd.oci.image.config.v1+json") &&
	    strcmp(out->config.media_type, "application/vnd.docker.container.image.v1+json"))
		return err_set(e, EINVAL, "manifest: a configuration of type \"%s\" is no image's",
			       out->config.media_type);
	if (out->config.size > PULLWIRE_CONFIG_MAX)
		return err_set(e, EINVAL, "manifest: config of %llu bytes is too large",
			       (unsigned long long)out->config.size);
	if (!json_is_array(layers) || json_len(layers) > PULLWIRE_LAYERS_MAX)
		return err_set(e, EINVAL, "manifest: layers are missing or more than %d",
			       PULLWIRE_LAYERS_MAX);
	out->n_layers = json_len(layers);
	out->layers = pool_alloc(p, (out->n_layers + 1) * sizeof(*out->layers));
	for (size_t i = 0; i < out->n_layers; i++) {
		ret = descriptor_parse(p, json_at(layers, i), "manifest: layer", &out->layers[i],
				       e);
		if (ret < 0)
			return ret;
		if (!layer_type_known(out->layers[i].media_type))
			return err_set(e, EINVAL, "manifest: layer %zu has the unknown type \"%s\"",
				       i, out->layers[i].media_type);
	}
	return 0;
}

static int check_type(const struct json *j, const char *content_type, struct err *e)
{
	const char *type = json_str(json_get(j, "mediaType"));
	size_t n = content_type ? strcspn(content_type, "; ") : 0;
	if (json_int(json_get(j, "schemaVersion"), 0) == 1)
		return err_set(e, EINVAL,
			       "manifest: Docker schema 1 is not supported; push the image again "
			       "with a current tool");
	if (json_int(json_get(j, "schemaVersion"), 0) != 2)
		return err_set(e, EINVAL, "manifest: schemaVersion is not 2");
	/* Registries answer plain JSON types as well; two image types that differ are an attack. */
	if (type && n && strstr(content_type, "manifest") &&
	    (strlen(type) != n || strncmp(type, content_type, n)))
		return err_set(
			e, EINVAL,
			"manifest: mediaType \"%s\" is not the type it was served as, \"%.*s\"",
			type, (int)n, content_type);
	return 0;
}

int manifest_parse(struct pool *p, const char *text, size_t len, const char *content_type,
		   struct manifest *out, struct err *e)
{
	const struct json *j;
	*out = (struct manifest){ 0 };
	int ret = json_parse(p, text, len, &j, e);
	if (ret < 0)
		return err_wrap(e, ret, "manifest");
	ret = check_type(j, content_type, e);
	if (ret < 0)
		return ret;
	const struct json *manifests = json_get(j, "manifests");
	if (manifests && (json_get(j, "layers") || json_get(j, "config")))
		return err_set(e, EINVAL, "manifest: it is an index and an image at once");
	return manifests ? parse_index(p, manifests, out, e) : parse_image(p, j, out, e);
}

/* -- configuration -- */

static void put_strings(struct json_out *o, const char *name, const struct json *list)
{
	json_key(o, name);
	json_array(o);
	for (size_t i = 0; i < json_len(list) && i < STRINGS_MAX; i++)
		if (json_is_object(list) ? !!json_key_at(list, i) : !!json_str(json_at(list, i)))
			json_put_str(o, json_is_object(list) ? json_key_at(list, i)
							     : json_str(json_at(list, i)));
	json_end_array(o);
}

static void put_text(struct json_out *o, const char *name, const struct json *j)
{
	if (json_str(j) && *json_str(j))
		json_member_str(o, name, json_str(j));
}

static const char *used_fields(struct pool *p, const struct json *config)
{
	struct json_out *o = json_out(p);
	json_object(o);
	put_strings(o, "env", json_get(config, "Env"));
	put_strings(o, "entrypoint", json_get(config, "Entrypoint"));
	put_strings(o, "cmd", json_get(config, "Cmd"));
	put_strings(o, "volumes", json_get(config, "Volumes"));
	put_text(o, "working_dir", json_get(config, "WorkingDir"));
	put_text(o, "user", json_get(config, "User"));
	put_text(o, "stop_signal", json_get(config, "StopSignal"));
	json_end_object(o);
	return json_text(o, NULL);
}

int manifest_read_config(struct pool *p, const char *text, size_t len, struct manifest *m,
			 const char **used, struct err *e)
{
	const struct json *j;
	int ret = json_parse(p, text, len, &j, e);
	if (ret < 0)
		return err_wrap(e, ret, "image configuration");
	const char *type = json_str(json_path(j, "rootfs", "type", NULL));
	const struct json *diffs = json_path(j, "rootfs", "diff_ids", NULL);
	if (type && strcmp(type, "layers"))
		return err_set(e, EINVAL,
			       "image configuration: rootfs.type is \"%s\", not \"layers\"", type);
	if (json_len(diffs) != m->n_layers)
		return err_set(e, EINVAL, "image configuration: %zu diff_ids for %zu layers",
			       json_len(diffs), m->n_layers);
	for (size_t i = 0; i < m->n_layers; i++) {
		const char *diff = json_str(json_at(diffs, i));
		if (!diff || !digest_valid(diff))
			return err_set(e, EINVAL, "image configuration: diff_ids[%zu] is malformed",
				       i);
		m->layers[i].diff = pool_strdup(p, diff);
	}
	*used = used_fields(p, json_get(j, "config"));
	return 0;
}
