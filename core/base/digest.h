#pragma once
#include <stdbool.h>

/* A digest of the OCI image spec: "sha256:" + 64 or "sha512:" + 128 lower-case hex digits, and nothing else. */
bool digest_valid(const char *text);
