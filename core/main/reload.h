#pragma once
/* What a configuration's handlers are made of, and what another configuration changes. */

struct config;
struct plug;
struct pool;

/* Add, change and drop handlers, until they are the configuration's. */
void handlers_apply(struct plug *pl, const struct config *c);

/* The configuration in force once fresh has been read: was, with the log's level and the handlers of
 * fresh.  What has changed is logged, also what can't be reloaded.  Lives in p, borrows from both. */
const struct config *config_reloaded(struct pool *p, const struct config *was, const struct config *fresh);
