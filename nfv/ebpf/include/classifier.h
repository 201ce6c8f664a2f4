/* SPDX-License-Identifier: GPL-2.0 */
/* Tells apart the chains that start at one attachment (RFC 7665, section 4.7). */
#include "matcher.h"

/*
 * Which chain: 0 for the one without a classifier, else 1 and up in the order of the file. Patterns
 * are written for the chain's own direction; user space turns them round for chains that end here.
 */
static __always_inline u32 self_classify(const struct nf_packet *pkt)
{
	struct self_halves *halves;
	u32 index = 0;

	if (!pkt->family)
		return 0;
	halves = self_matcher.lookup(&index);
	return halves ? self_match(halves, pkt, NF_DIR_FORWARD) + 1 : 0;
}
