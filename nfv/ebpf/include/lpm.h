/* SPDX-License-Identifier: GPL-2.0 */
/* Longest prefix match in a multibit trie of stride 8; user space builds it (nfv/ebpf/lpm.py). */
#ifndef NFV_LPM_H
#define NFV_LPM_H

#include "nf.h"

#define LPM_CHILD 0x80000000u /* the slot holds the index of a child node, not a value */

struct lpm_node {
	u32 slot[256];
};

#endif /* NFV_LPM_H */
