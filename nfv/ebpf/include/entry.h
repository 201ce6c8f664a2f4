/* SPDX-License-Identifier: GPL-2.0 */
/* How a walk ends: counted once, then dropped, sent on, or answered. */
#ifndef NFV_ENTRY_H
#define NFV_ENTRY_H

#include "nf.h"

/* The link constant that every program has: where the jump table has the one that answers rejects. */
#define ENTRY_REJECT_JUMP 0

/* Set in nf_packet.tx: not a port to send to, but the place in the jump table of the walk that goes on. */
#define ENTRY_JUMP 0x80000000u

BPF_TABLE("percpu_array", u32, struct nf_counter, nf_received, NF_REASON_COUNT);
BPF_TABLE("percpu_array", u32, struct nf_counter, nf_sent, 1);
BPF_TABLE("percpu_array", u32, struct nf_packet, nf_packets, 1);

static __always_inline void entry_count(const struct nf_packet *pkt)
{
	u32 reason = pkt->reason;
	struct nf_counter *counter = nf_received.lookup(&reason);

	if (counter)
		nf_count(counter, pkt);
}

static __always_inline int entry_send(nf_ctx *ctx, const struct nf_packet *pkt)
{
	u32 port = pkt->egress;
	struct nf_counter *counter = nf_sent.lookup(&port);

	if (counter)
		nf_count(counter, pkt);
	return hook_send(ctx, port);
}

/* The end of a walk at `out`. */
static __always_inline int entry_finish(nf_ctx *ctx, struct nf_packet *pkt, int verdict)
{
	entry_count(pkt);
	if (verdict == NF_REJECT || verdict == NF_ANSWER) {
		pkt->answered = verdict == NF_ANSWER;
		hook_jump(ctx, NF_LINK(ENTRY_REJECT_JUMP));
		return HOOK_DROP;
	}
	if (verdict == NF_DROP)
		return HOOK_DROP;
	return entry_send(ctx, pkt);
}

/* On with the walk of the egress interface, which is another program. */
static __always_inline int entry_jump(nf_ctx *ctx, struct nf_packet *pkt)
{
	entry_count(pkt);
	hook_jump(ctx, pkt->tx & ~ENTRY_JUMP);
	/* The kernel follows only so many tail calls. */
	pkt->reason = NF_REASON_LOOP;
	entry_count(pkt);
	return HOOK_DROP;
}

#endif /* NFV_ENTRY_H */
