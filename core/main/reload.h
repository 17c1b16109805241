#pragma once
/* What a configuration's handlers are made of, and what another configuration changes. */

#include "core/base/err.h"

struct config;
struct keep;
struct plug;
struct pool;

/* Leave the configuration in force with the keeper, for the next core.  p holds it there while this
 * process lives. */
void config_keep(struct keep *k, struct pool *p, const struct config *c);
/* At an orderly end: the next core reads the file. */
void config_drop(struct keep *k);
/* What a core that died has left, in p; NULL: nothing, or with *e set, nothing that can be read. */
const struct config *config_kept(struct keep *k, struct pool *p, const char *exe_dir, struct err *e);

/* Add, change and drop handlers, until they are the configuration's. */
void handlers_apply(struct plug *pl, const struct config *c);

/* The configuration in force once fresh has been read: was, with the log's level and the handlers of
 * fresh.  What has changed is logged, also what can't be reloaded.  Lives in p, borrows from both. */
const struct config *config_reloaded(struct pool *p, const struct config *was, const struct config *fresh);
