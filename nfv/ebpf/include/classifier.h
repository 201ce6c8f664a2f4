/* SPDX-License-Identifier: GPL-2.0 */
/* Tells apart the chains that start at one attachment (RFC 7665, section 4.7). */
#include "matcher.h"
#include "datagrams.h"
#include "discovery.h"

/* The chain of what no classifier speaks of: frames without IP, neighbour discovery. */
#ifndef SELF_OTHERS
#define SELF_OTHERS 0
#endif

/* A classifier asks for TCP flags that differ between the segments of a flow. */
#ifndef SELF_FLEETING
#define SELF_FLEETING 0
#endif

#define CLASSIFIER_LOST 0xffff /* a later fragment whose first was not seen: no chain */

/*
 * Which chain: 0 for the one without a classifier, else 1 and up in the order of the file. Patterns
 * are written for the chain's own direction; user space turns them round for chains that end here.
 */
static __always_inline u32 self_classify(struct nf_packet *pkt)
{
	u32 index, *noted;

	if (!pkt->family || discovery_is(pkt))
		return SELF_OTHERS;
	if (pkt->fragment == NF_FRAGMENT_LATER) {
		noted = self_noted_datagram(pkt);
		return noted ? *noted : CLASSIFIER_LOST;
	}
	pkt->fleeting |= SELF_FLEETING && pkt->protocol == IPPROTO_TCP;
	index = self_match(self_tables(), pkt, NF_DIR_FORWARD) + 1;
	if (pkt->fragment == NF_FRAGMENT_FIRST)
		self_note_datagram(pkt, index);
	return index;
}
