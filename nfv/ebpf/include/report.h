/* SPDX-License-Identifier: GPL-2.0 */
/* Counts, for one function, the packets that ended their walk there, by reason. */
#include "nf.h"

BPF_TABLE("percpu_array", u32, struct nf_counter, self_reasons, NF_REASON_COUNT);

static __always_inline void self_report(const struct nf_packet *pkt)
{
	u32 reason = pkt->reason;
	struct nf_counter *counter = self_reasons.lookup(&reason);

	if (counter)
		nf_count(counter, pkt);
}
