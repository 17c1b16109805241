/* Telling of changes, see the header: what to tell of a change of state. */
#include <string.h>

#include "core/model/model_int.h"

void model_on_event(struct model *m, model_event_cb *cb, void *data)
{
	m->on_event = cb;
	m->on_event_data = data;
}

static void tell(struct model *m, enum model_event e, struct pod *p, struct container *c)
{
	if (m->on_event)
		m->on_event(m->on_event_data, e, p, c);
}

/* One that starts comes into view when that is over, however it ends. */
void event_pod(struct pod *p, enum pod_state from)
{
	if (from == POD_STATE_STARTING)
		tell(p->model, MODEL_EVENT_CREATED, p, NULL);
	if (p->state == POD_STATE_READY)
		tell(p->model, MODEL_EVENT_STARTED, p, NULL);
	else if (p->state == POD_STATE_NOTREADY)
		tell(p->model, MODEL_EVENT_STOPPED, p, NULL);
}

void event_pod_gone(struct pod *p)
{
	if (p->state != POD_STATE_STARTING)
		tell(p->model, MODEL_EVENT_DELETED, p, NULL);
}

void event_container(struct container *c, enum container_state from)
{
	bool ran = c->started_ns && (!c->reason || strcmp(c->reason, "StartError"));
	if (c->state == CONTAINER_STATE_CREATED)
		tell(c->model, MODEL_EVENT_CREATED, c->pod, c);
	/* One that ends before the engine has said that it runs has been started all the same. */
	if (c->state == CONTAINER_STATE_RUNNING || (from == CONTAINER_STATE_CREATED && ran))
		tell(c->model, MODEL_EVENT_STARTED, c->pod, c);
	if (c->state == CONTAINER_STATE_EXITED)
		tell(c->model, MODEL_EVENT_STOPPED, c->pod, c);
}

void event_container_gone(struct container *c)
{
	if (c->state != CONTAINER_STATE_CREATING)
		tell(c->model, MODEL_EVENT_DELETED, c->pod, c);
}
