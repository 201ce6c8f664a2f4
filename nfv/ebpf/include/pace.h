/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How many packets a second one sender can have its service take: whoever sends more takes nothing from
 * the others. Who counts as one is for the function to say, by the number of a bucket; each is the time
 * at which it would be full again (generic cell rate algorithm).
 */
#include "nf.h"

#define SELF_SECOND 1000000000ull

#ifndef SELF_RATE
#define SELF_RATE 1000 /* packets a second */
#endif
#ifndef SELF_BURST
#define SELF_BURST SELF_SECOND /* whose packets may come at once */
#endif

BPF_TABLE("array", u32, u64, self_paces, 1);

/* Hand a packet to the service, unless too many of its bucket have come. */
static __always_inline int self_hand_over(struct nf_packet *pkt, u32 bucket)
{
	u64 *full = self_paces.lookup(&bucket);
	u64 now = bpf_ktime_get_ns();

	if (!full)
		return nf_drop(pkt, NF_REASON_NONE);
	if (*full < now)
		*full = now;
	if (*full >= now + SELF_BURST)
		return nf_drop(pkt, NF_REASON_LIMITED);
	*full += SELF_SECOND / SELF_RATE;
	return nf_serve(pkt, NF_REASON_SERVICE);
}
