#pragma once
/*
 * Intrusive doubly linked list.  A list is a struct list that points to itself; an item
 * embeds a struct list as its link.  A link that is in no list points to itself as well,
 * so list_del() may be repeated.
 */
#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(l) { &(l), &(l) }

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

/* Put item at the end of list l. */
static inline void list_append(struct list *l, struct list *item)
{
	item->prev = l->prev;
	item->next = l;
	l->prev->next = item;
	l->prev = item;
}

static inline void list_prepend(struct list *l, struct list *item)
{
	list_append(l->next, item);
}

static inline void list_del(struct list *item)
{
	item->prev->next = item->next;
	item->next->prev = item->prev;
	list_init(item);
}

static inline struct list *list_pop(struct list *l)
{
	if (list_empty(l))
		return NULL;
	struct list *item = l->next;
	list_del(item);
	return item;
}

/* For each item of l, in order; the body may remove and free `it` itself, not its successor. */
#define list_for_each(it, l, member)                                                               \
	for (struct list *it##_at = (l)->next, *it##_next = it##_at->next;                         \
	     it##_at != (l) && (it = container_of(it##_at, __typeof__(*it), member), 1);           \
	     it##_at = it##_next, it##_next = it##_at->next)
