/*
 * Both ends of a conversation, for tests of networks.
 *
 *	net_talk serve NAME PORT	answer on TCP and UDP with "NAME peer-address"; "ready" on stdout
 *					once both are open
 *	net_talk ask tcp|udp ADDRESS PORT [SOURCE_PORT]	print the answer, or exit 1 after 2 s
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static struct sockaddr_in address(const char *ip, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

static int open_socket(int type, const char *ip, const char *port)
{
	struct sockaddr_in a = address(ip, port);
	int fd = socket(AF_INET, type, 0), one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		perror("bind");
		exit(2);
	}
	return fd;
}

static int greet(char *out, size_t size, const char *name, const struct sockaddr_in *peer)
{
	char ip[INET_ADDRSTRLEN];
	return snprintf(out, size, "%s %s", name, inet_ntop(AF_INET, &peer->sin_addr, ip, sizeof(ip)));
}

static int serve(const char *name, const char *port)
{
	struct pollfd fds[2] = { { open_socket(SOCK_STREAM, "0.0.0.0", port), POLLIN, 0 },
				 { open_socket(SOCK_DGRAM, "0.0.0.0", port), POLLIN, 0 } };
	char text[200];
	listen(fds[0].fd, 16);
	puts("ready");
	fflush(stdout);
	while (poll(fds, 2, -1) > 0) {
		struct sockaddr_in peer;
		socklen_t len = sizeof(peer);
		if (fds[0].revents) {
			int fd = accept(fds[0].fd, (struct sockaddr *)&peer, &len);
			if (fd >= 0 && write(fd, text, (size_t)greet(text, sizeof(text), name, &peer)) < 0)
				perror("write");
			close(fd);
		}
		if (fds[1].revents && recvfrom(fds[1].fd, text, sizeof(text), 0, (struct sockaddr *)&peer, &len) >= 0)
			sendto(fds[1].fd, text, (size_t)greet(text, sizeof(text), name, &peer), 0,
			       (struct sockaddr *)&peer, len);
	}
	return 1;
}

static int ask(const char *proto, const char *ip, const char *port, const char *source)
{
	struct sockaddr_in a = address(ip, port);
	struct timeval wait = { .tv_sec = 2 };
	char text[200];
	int fd = open_socket(strcmp(proto, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM, "0.0.0.0", source);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    (strcmp(proto, "udp") == 0 && send(fd, "?", 1, 0) < 0)) {
		printf("%s\n", strerror(errno));
		return 1;
	}
	ssize_t n = read(fd, text, sizeof(text));
	if (n <= 0) {
		printf("%s\n", n < 0 ? strerror(errno) : "closed");
		return 1;
	}
	printf("%.*s\n", (int)n, text);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2], argv[3]);
	if (argc >= 5 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], argv[3], argv[4], argc > 5 ? argv[5] : "0");
	return 2;
}
