#pragma once
/*
 * A program without libc: system calls and the entry, nothing else.  For those few that stay
 * around once per node or per pod and shall cost a few pages (crisp-keeper, crisp-pause).  One .c
 * of a program defines bare_main(); others that it links define BARE_PART before they include
 * this.  Build with $bare_cflags and $bare_ldflags.  Everything returns what the kernel does:
 * >= 0 or -errno.
 */
#include <stddef.h>

#include <linux/types.h>
#include <asm/unistd.h>

#if defined(__x86_64__)
static inline long bare_call(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long bare_call(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "bare.h: no system calls for this processor yet"
#endif

#define bare_call_n(n, a, b, c, d, e, f, ...)                                                      \
	bare_call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* bare(write, fd, text, len): up to six arguments, pointers or integers. */
#define bare(name, ...) bare_call_n(__NR_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* The compiler may call these by itself. */
void *memset(void *to, int byte, size_t n);
void *memcpy(void *to, const void *from, size_t n);

__attribute__((noreturn)) static inline void bare_exit(int code)
{
	for (;;)
		bare(exit_group, code);
}

#ifndef BARE_PART
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\t"
	"and $-16, %rsp\n\tcall bare_start\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\t"
	"and sp, x0, #-16\n\tbl bare_start\n");
#endif

void *memset(void *to, int byte, size_t n)
{
	for (volatile char *p = to; n; n--)
		*p++ = (char)byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	const char *f = from;
	for (volatile char *p = to; n; n--)
		*p++ = *f++;
	return to;
}

static int bare_main(int argc, char **argv, char **envp);

__attribute__((noreturn, used)) void bare_start(long *stack);
void bare_start(long *stack)
{
	int argc = (int)stack[0];
	char **argv = (char **)(stack + 1);
	bare_exit(bare_main(argc, argv, argv + argc + 1));
}
#endif
