/* crisp-work: the table of its jobs. */
#include "core/work/job.h"

static const struct job jobs[] = {
	{ "enter",
	  "enter NSFD [--errfd N] [--chdir DIR] [--argv0 NAME] "
	  "[--overlay TARGET LOWERS UPPER WORK]... [--fdmount FD TARGET]... "
	  "[--bind SOURCE TARGET OPTIONS]... "
	  "[--userns FD [--mapped-overlay TARGET LOWERS UPPER WORK] [--mapped-bind SOURCE TARGET OPTIONS]...] "
	  "-- PROGRAM ARGS...",
	  job_enter },
	{ "template", "template STATE_DIR NETNS_DIR", job_template },
	{ "ns",
	  "ns [--net PIN | --counters NETNS] [--ipc] [--uts] [--hostname NAME] [--shm[-in-ns] BYTES] "
	  "[--sysctl KEY=VALUE]... [--userns UID:N:GID:N [--in USERNS]]",
	  job_ns },
	{ "sysctl", "sysctl NETNS KEY=VALUE...", job_sysctl },
	{ "unpin", "unpin PATH...", job_unpin },
	{ "rmtree", "rmtree PATH...", job_rmtree },
	{ "usage", "usage LAYERS [DIR CGROUP]...: of the file system of LAYERS its bytes, inodes, free inodes, device; "
	  "for each pair bytes and inodes of DIR, descriptors, sockets and limit of CGROUP", job_usage_of },
	{ "dial", "dial NETNS|- PORT [ADDRESS...]: a connection to the pod's localhost, or from the host", job_dial },
	{ "limit", "limit [FILE VALUE]...: of a cgroup", job_limit },
	{ "prepare", "prepare < REQUEST > REPLY (JSON, see core/work/prepare.h)", job_prepare },
	{ 0 },
};

int main(int argc, char **argv)
{
	return job_main(jobs, argc, argv);
}
