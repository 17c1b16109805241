#pragma once
/*
 * `crisp-work prepare`: what only the disk can tell about a container that is to be made.  One
 * JSON object on stdin, one on stdout; on failure nothing on stdout, one line on stderr, exit 1.
 *
 * request
 *	layers		array of absolute directories, the image's, LOWEST first
 *	userns		"UID:N:GID:N" of the pod's user namespace (core/base/idmap.h); absent: none
 *	upper, work	directories of the overlay that will be mounted; they are made, upper with the
 *			image's directories where something has to be created in it
 *	user		object: image (the image's "user[:group]"), uid | name, gid, groups (array),
 *			strict (bool: groups are those given, not those of the image's /etc/group)
 *	mounts		array of objects: source; peers: "shared" or "slave" when the source's mount
 *			must be one (slave: one of both)
 *	devices		array of objects: source, target, access
 *	all_devices	bool: every device of the host
 *	volumes		array of paths in the image, made where they are missing
 *	seccomp		path of a profile on the host
 *
 * reply
 *	uid, gid, groups (the primary one first), home, username (absent: the uid has no name)
 *	mounts		as asked: source (no symlinks in it), dir (bool), made (bool)
 *	devices		path, type "c" | "b", major, minor, mode, uid, gid, access
 *	volumes		as asked, with the image's symlinks resolved
 *	seccomp		the profile's JSON
 *
 * Nothing of the image is trusted: its files are looked up layer by layer without following a
 * symlink out of it, sizes are bounded, devices and FIFOs are not opened.
 */
