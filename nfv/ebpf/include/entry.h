/* SPDX-License-Identifier: GPL-2.0 */
/* How a walk ends: counted once, then dropped, sent on, or answered. */
#ifndef NFV_ENTRY_H
#define NFV_ENTRY_H

#include "nf.h"
#include "commit.h"

/* The link constants that every program has. */
#define ENTRY_REJECT_JUMP 0 /* where nf_jumps has the program that answers rejects */
#define ENTRY_CPUS 1        /* the last CPU that has tables; so a mask: there is a power of two */
#define ENTRY_FLOW_BITS 2   /* a CPU has 1 << so many sets of flows */
#define ENTRY_FLOW_SHIFT 3  /* 64 minus that */
#define ENTRY_ACTIONS 4     /* the last action of all, a mask too */
#define ENTRY_FLOW_LIFE 5   /* jiffies that a flow is remembered without a walk */

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
	if (verdict == NF_DROP)
		return HOOK_DROP;
	commit_packet(ctx, pkt);
	if (verdict == NF_REJECT || verdict == NF_ANSWER) {
		pkt->answered = verdict == NF_ANSWER;
		hook_jump(ctx, NF_LINK(ENTRY_REJECT_JUMP));
		return HOOK_DROP;
	}
	return entry_send(ctx, pkt);
}

/* On with the walk of the egress interface, which is another program. */
static __always_inline int entry_jump(nf_ctx *ctx, struct nf_packet *pkt)
{
	entry_count(pkt);
	commit_packet(ctx, pkt);
	hook_jump(ctx, pkt->tx & ~ENTRY_JUMP);
	/* The kernel follows only so many tail calls. */
	pkt->reason = NF_REASON_LOOP;
	entry_count(pkt);
	return HOOK_DROP;
}

/* Count and drop a frame that no walk has begun for. */
static __always_inline int entry_discard(nf_ctx *ctx, u32 reason)
{
	struct nf_counter *counter;
	struct hook_wire wire;

	hook_measure(ctx, &wire);
	counter = nf_received.lookup(&reason);
	if (counter)
		nf_add(counter, &wire);
	return HOOK_DROP;
}

/* To the program that walks, for a packet of a flow that is not known. */
static __always_inline int entry_walk(nf_ctx *ctx, u32 jump)
{
	hook_jump(ctx, jump);
	/* The kernel follows only so many tail calls. */
	return entry_discard(ctx, NF_REASON_LOOP);
}

#endif /* NFV_ENTRY_H */
