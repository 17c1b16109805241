#pragma once
/* How things are shown in a cell.  All results live in the pool or are literals. */
#include <stdint.h>

#include "proto/cri.pb-c.h"

struct pool;

enum { SHOW_ID_LEN = 12 };

const char *show_id(struct pool *p, const char *id);	/* without "sha256:", first 12 */
const char *show_age(struct pool *p, int64_t created_ns);	/* "5s", "3m", "2h", "7d" */
const char *show_bytes(struct pool *p, uint64_t n);	/* "12.3MB", powers of 1000 */
const char *show_state(Cri__ContainerState s);
const char *show_pod_state(Cri__PodSandboxState s);
/* The name that a person gave, else the first tag that images have for the id, else a short id. */
const char *show_image(struct pool *p, const Cri__Container *c,
		       const Cri__ListImagesResponse *images);
