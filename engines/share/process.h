#pragma once
/* A process of the host, known again after a restart. */
#include <stdint.h>

/* When pid began, in the kernel's ticks, which tells it from a later one of the same number; 0: there is
 * none. */
uint64_t process_start(int32_t pid);
