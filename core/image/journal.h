#pragma once
/*
 * An append-only log of JSON records, one a line, each with a CRC before it:
 *	1c291ca3 {"name":"docker.io/library/x:latest","image":"sha256:..."}
 *
 * Appending is a write to the page cache: it outlives the process.  What is to outlive a power cut
 * is synced by a helper (journal_fd()).  A line that is torn or damaged is skipped at the next
 * start.
 */
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

struct journal;
struct json;
struct pool;

typedef void journal_cb(void *data, const struct json *record);

/* Open or create name below dirfd (borrowed) and hand out the records in order. */
int journal_open(struct pool *p, int dirfd, const char *name, journal_cb *cb, void *data,
		 struct journal **out, struct err *e);
/* text: one JSON object without a newline.  What could not be written whole leaves no trace. */
int journal_append(struct journal *j, const char *text, size_t len, struct err *e);

uint64_t journal_size(const struct journal *j);
int journal_fd(const struct journal *j);
unsigned journal_damaged(const struct journal *j);	/* lines that were skipped */

/*
 * Replacing it by a shorter one: begin makes name.new; the caller appends all that is alive to it
 * by journal_rewrite_append(); later appends go to both.  When the new file was synced, end puts it
 * in the old one's place; abort forgets it.
 */
int journal_rewrite_begin(struct journal *j, struct err *e);
int journal_rewrite_append(struct journal *j, const char *text, size_t len, struct err *e);
int journal_rewrite_fd(const struct journal *j);	/* -1: none under way */
int journal_rewrite_end(struct journal *j, struct err *e);
void journal_rewrite_abort(struct journal *j);
