#pragma once
/* Checks that pods and containers share.  Each is -EINVAL or -ENOSYS with the field's name. */
#include <stddef.h>

#include "core/oci/oci.h"

/* Bounded, UTF-8, no control characters. */
int check_text(const char *value, const char *field, struct err *e);
/* As an item of a list, "field[i]". */
int check_text_at(const char *value, const char *field, size_t i, struct err *e);
int check_uid(const Cri__Int64Value *v, const char *field, struct err *e);
int check_groups(const int64_t *ids, size_t n, const char *field, struct err *e);
int check_policy(Cri__SupplementalGroupsPolicy policy, const char *field, struct err *e);
int check_selinux(const struct oci_host *h, const Cri__SELinuxOption *s, const char *field, struct err *e);
int check_seccomp(const struct oci_host *h, const Cri__SecurityProfile *s, const char *field, struct err *e);
/* ref: a Localhost profile's name, "localhost/" before it or not. */
int check_apparmor_name(const struct oci_host *h, const char *ref, const char *field, struct err *e);
int check_apparmor(const struct oci_host *h, const Cri__SecurityProfile *s, const char *field, struct err *e);
/* userns_options by themselves. */
int check_userns(const Cri__UserNamespace *u, const char *field, struct err *e);
/* Mappings that have to be the pod's: n of them at maps against ids 0.. at host. */
int check_same_map(Cri__IDMapping **maps, size_t n, uint32_t host, uint32_t length, const char *field, struct err *e);
