/* By inotify on the lock's inode, which says that something of it has changed, as its number of links. */
#define BARE_PART
#include "core/base/bare.h"
#include "core/keeper/gone.h"

#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/inotify.h>

#include "core/keep/wire.h"
#include "core/keeper/kept.h"
#include "core/keeper/talk.h"

static int notify = -1;

bool gone_is_so(void)
{
	struct stat st;
	int fd = kept_fd(KEEP_KEY_LOCK);
	return fd >= 0 && bare(fstat, fd, &st) == 0 && st.st_nlink == 0;
}

void gone_watch(void)
{
	char path[32];
	int fd = kept_fd(KEEP_KEY_LOCK);
	if (fd < 0 || notify >= 0)
		return;
	notify = (int)bare(inotify_init1, O_CLOEXEC | O_NONBLOCK);
	*put_number(put_text(path, "/proc/self/fd/"), fd) = 0;
	bare(inotify_add_watch, notify, path, IN_ATTRIB);
}

int gone_fd(void)
{
	return notify;
}

void gone_take_news(void)
{
	char events[512];
	bare(read, notify, events, sizeof(events));
}
