/* The plugin's file and its tables, looked at from outside. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/base/file.h"
#include "tools/engine-check/check.h"

enum { FILE_MAX = 64 << 20 };

/* What no plugin has a use for: host->spawn() and the loop are there instead. */
static const char *const forbidden[] = {
	"fork", "vfork", "clone", "execve", "execv", "execvp", "execl", "posix_spawn", "posix_spawnp", "system", "popen",
	"daemon", "pthread_create", "thrd_create", "wait", "wait3", "wait4", "waitpid", "waitid", "chdir", "fchdir",
	"chroot", "umask", "signal", "sigaction", "sigprocmask", "alarm", "setitimer", "setenv", "putenv", "unsetenv",
	"clearenv", "sleep", "usleep", "printf", "__printf_chk", "puts", "putchar", "perror", "exit", "_exit",
};

/* -- ELF -- */

struct elf {
	const char *data;
	size_t len;
	const Elf64_Sym *syms;
	size_t n_syms;
	const char *strings;
	size_t strings_len;
};

static bool in_file(const struct elf *e, uint64_t at, uint64_t len)
{
	return at <= e->len && len <= e->len - at;
}

static int elf_open(struct elf *e, const char *data, size_t len)
{
	const Elf64_Ehdr *head = (const void *)data;
	*e = (struct elf){ .data = data, .len = len };
	if (len < sizeof(*head) || memcmp(head->e_ident, ELFMAG, SELFMAG) || head->e_ident[EI_CLASS] != ELFCLASS64 ||
	    !in_file(e, head->e_shoff, (uint64_t)head->e_shnum * sizeof(Elf64_Shdr)))
		return -EINVAL;
	const Elf64_Shdr *sections = (const void *)(data + head->e_shoff);
	for (unsigned i = 0; i < head->e_shnum; i++) {
		const Elf64_Shdr *s = &sections[i];
		if (s->sh_type != SHT_DYNSYM || s->sh_link >= head->e_shnum)
			continue;
		const Elf64_Shdr *str = &sections[s->sh_link];
		if (!in_file(e, s->sh_offset, s->sh_size) || !in_file(e, str->sh_offset, str->sh_size))
			return -EINVAL;
		e->syms = (const void *)(data + s->sh_offset);
		e->n_syms = s->sh_size / sizeof(*e->syms);
		e->strings = data + str->sh_offset;
		e->strings_len = str->sh_size;
	}
	return e->n_syms && e->strings_len && !e->strings[e->strings_len - 1] ? 0 : -EINVAL;
}

static const char *symbol_name(const struct elf *e, const Elf64_Sym *s)
{
	return s->st_name < e->strings_len ? e->strings + s->st_name : "";
}

static bool is_forbidden(const char *name)
{
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		if (!strcmp(name, forbidden[i]))
			return true;
	return false;
}

static void check_symbols(const struct elf *e)
{
	char exported[300] = "", imported[300] = "";
	unsigned n_exported = 0, n_imported = 0;
	bool ours = false;
	for (size_t i = 1; i < e->n_syms; i++) {
		const Elf64_Sym *s = &e->syms[i];
		const char *name = symbol_name(e, s);
		size_t n;
		if (s->st_shndx == SHN_UNDEF && is_forbidden(name)) {
			n = strlen(imported);
			snprintf(imported + n, sizeof(imported) - n, " %s", name);
			n_imported++;
		}
		if (s->st_shndx == SHN_UNDEF || ELF64_ST_BIND(s->st_info) == STB_LOCAL)
			continue;
		ours |= !strcmp(name, "crisp_engine_v1");
		n = strlen(exported);
		snprintf(exported + n, sizeof(exported) - n, " %s", name);
		n_exported++;
	}
	check(ours, "it exports crisp_engine_v1");
	check(n_exported == 1, "and nothing else (%u:%s)", n_exported, exported);
	check(!n_imported, "it imports nothing that a plugin must not call%s%s", n_imported ? ":" : "", imported);
}

static void check_file(void)
{
	struct buf text = { 0 };
	struct err err = { 0 };
	struct elf e;
	if (!check(file_read(AT_FDCWD, opt.plugin, FILE_MAX, &text, &err) == 0, "the file can be read%s%s",
		   err.code ? ": " : "", err.code ? err.msg : ""))
		return;
	if (check(elf_open(&e, text.data, text.len) == 0, "it is a 64-bit ELF file with dynamic symbols"))
		check_symbols(&e);
	buf_free(&text);
}

/* -- the description -- */

static bool has_json(const char *text)
{
	const struct json *j;
	return json_parse(bench.pool, text, strlen(text), &j, NULL) == 0 && json_is_object(j);
}

static void check_description(const struct crisp_engine *e)
{
	check(e->size >= offsetof(struct crisp_engine, options_schema_json) + sizeof(char *) && e->size < 4096,
	      "its size is sound (%u bytes)", e->size);
	check(e->flags == 0, "its flags are 0 (0x%x)", e->flags);
	check(e->minor <= CRISP_ENGINE_MINOR, "it is of minor %u, this program knows %u", e->minor, CRISP_ENGINE_MINOR);
	check(e->name && !strcmp(e->name, opt.name), "it is called as its file (\"%s\")", e->name ? e->name : "");
	check(e->version && *e->version, "it has a version (\"%s\")", e->version ? e->version : "");
	check(e->ops && e->ops->size >= offsetof(struct crisp_ops, exec) && e->ops->size < 4096 && e->ops->size % 8 == 0,
	      "its table of operations has a sound size (%u bytes)", e->ops ? e->ops->size : 0);
	check(e->ops && e->ops->flags == 0, "whose flags are 0");
	if (CRISP_CAN(e, options_schema_json))
		check(has_json(e->options_schema_json), "options_schema_json is a JSON object");
	for (const char *const *p = e->annotation_prefixes; p && *p; p++)
		check(**p, "annotation prefix \"%s\"", *p);
}

/* -- bits and slots -- */

static void check_slots(const struct crisp_engine *e)
{
	const struct crisp_ops *o = e->ops;
	check(CRISP_CAN(o, open) && CRISP_CAN(o, close) && CRISP_CAN(o, create) && CRISP_CAN(o, start) &&
		      CRISP_CAN(o, del),
	      "open, close, create, start and del are there");
	check((e->caps & (CRISP_CAP_EXIT_BY_PID | CRISP_CAP_EXIT_BY_ENGINE)) != 0,
	      "EXIT_BY_PID or EXIT_BY_ENGINE is said");
	check((e->caps & (CRISP_CAP_STDIO_FD | CRISP_CAP_STDIO_FIFO)) != 0, "STDIO_FD or STDIO_FIFO is said");
	check((e->caps & (CRISP_CAP_ROOTFS_MOUNTED | CRISP_CAP_ROOTFS_MOUNTS | CRISP_CAP_ROOTFS_IMAGE_REF)) != 0 ||
		      !(e->requires & CRISP_HOST_ROOTFS),
	      "where the rootfs comes from is said");
	if (e->caps & CRISP_CAP_SANDBOX_OWN)
		check(CRISP_CAN(o, sandbox_create) && CRISP_CAN(o, sandbox_delete) && CRISP_CAN(o, sandbox_attach),
		      "with SANDBOX_OWN sandboxes can be made, deleted and found again");
	if (!(e->caps & CRISP_CAP_PID_IS_HOST))
		check(CRISP_CAN(o, kill), "without PID_IS_HOST there is kill");
	if (e->caps & CRISP_CAP_EXIT_BY_ENGINE)
		check(CRISP_CAN(o, attach), "with EXIT_BY_ENGINE there is attach");
	if (!(e->caps & CRISP_CAP_STATS_HOST_CGROUP))
		if (!CRISP_CAN(o, stats))
			note("without STATS_HOST_CGROUP and stats nobody knows what its containers use");
	if (e->caps & CRISP_CAP_TTY_ENGINE)
		check(CRISP_CAN(o, resize), "with TTY_ENGINE there is resize");
	if (e->caps & CRISP_CAP_CHECKPOINT)
		check(CRISP_CAN(o, checkpoint) && CRISP_CAN(o, restore), "with CHECKPOINT there are checkpoint and restore");
	check(!CRISP_CAN(o, pause) == !CRISP_CAN(o, resume), "pause and resume go together");
}

void section_file(void)
{
	struct err e = { 0 };
	check_file();
	const struct crisp_engine *engine = bench_engine(&e);
	if (!check(engine != NULL, "it can be loaded%s%s", engine ? "" : ": ", engine ? "" : err_text(&e)))
		return;
	check_description(engine);
	if (engine->ops)
		check_slots(engine);
}
