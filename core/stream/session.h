#pragma once
/* What is carried over a wire once it is there.  Both set its user and end with it. */
#include "core/stream/stream.h"
#include "core/stream/ticket.h"
#include "core/stream/wire.h"

/* The ticket lives as long as the wire. */
void remote_begin(const struct stream_ground *g, struct wire *w, const struct ticket *t);
void forward_begin(const struct stream_ground *g, struct wire *w, const struct ticket *t);
