/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How many packets a second of one chain, in one direction, its service is given: whoever sends more
 * takes nothing from the others. A bucket for each stage, by the time at which it would be full again
 * (generic cell rate algorithm).
 */
#include "nf.h"

#define SELF_SECOND 1000000000ull
#define SELF_STAGES 1024 /* a power of two; those beyond share the buckets */

#ifndef SELF_RATE
#define SELF_RATE 1000 /* packets a second */
#endif

BPF_TABLE("array", u32, u64, self_paces, 1);

/* Hand a packet to the service; a second's packets may come at once. */
static __always_inline int self_hand_over(struct nf_packet *pkt)
{
	u32 index = pkt->stage & (SELF_STAGES - 1);
	u64 *full = self_paces.lookup(&index);
	u64 now = bpf_ktime_get_ns();

	if (!full)
		return nf_drop(pkt, NF_REASON_NONE);
	if (*full < now)
		*full = now;
	if (*full >= now + SELF_SECOND)
		return nf_drop(pkt, NF_REASON_LIMITED);
	*full += SELF_SECOND / SELF_RATE;
	return nf_serve(pkt, NF_REASON_SERVICE);
}
