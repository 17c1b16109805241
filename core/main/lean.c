/*
 * A process weighs what its page tables hold.  Half of what the start has touched is code that is
 * not used again (the dynamic linker, the reading of the configuration, probes of the host), and
 * the kernel maps 64 kB around each fault.  Only text is let go: nobody writes to it but a debugger,
 * which has to set its breakpoints anew.
 */
#include "core/main/lean.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int drop_text(struct dl_phdr_info *info, size_t size, void *data)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X) || (ph->p_flags & PF_W))
			continue;
		uintptr_t at = (info->dlpi_addr + ph->p_vaddr) & ~(page - 1);
		uintptr_t end = (info->dlpi_addr + ph->p_vaddr + ph->p_memsz + page - 1) & ~(page - 1);
		madvise((void *)at, end - at, MADV_DONTNEED);
	}
	return 0;
}

void lean_after_start(void)
{
	malloc_trim(0);
	dl_iterate_phdr(drop_text, NULL);
}
