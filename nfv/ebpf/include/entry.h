/* SPDX-License-Identifier: GPL-2.0 */
/* How a walk ends: counted once, then dropped, sent on, or answered. */
#ifndef NFV_ENTRY_H
#define NFV_ENTRY_H

#include "nf.h"

/* Link constants that every program has. */
#define ENTRY_REJECT_JUMP 0 /* place in nf_jumps of the program that answers rejected packets */
#define ENTRY_LINKS 1	    /* the first number free for the walks */

/* Set in nf_packet.tx: not a port to send to, but the place in nf_jumps of the walk that goes on. */
#define ENTRY_JUMP 0x80000000u

/* For the program that goes on after a tail call, on the same CPU. */
struct entry_note {
	u32 place; /* where in the walk the packet was rejected */
	u32 reserved;
};

BPF_TABLE("devmap", u32, u32, nf_ports, 1);
BPF_TABLE("prog", u32, u32, nf_jumps, 1);
BPF_TABLE("percpu_array", u32, struct nf_counter, nf_received, NF_REASON_COUNT);
BPF_TABLE("percpu_array", u32, struct nf_counter, nf_sent, 1);
BPF_TABLE("percpu_array", u32, struct entry_note, nf_notes, 1);

static __always_inline void entry_count(const struct nf_packet *pkt)
{
	u32 reason = pkt->reason;
	struct nf_counter *counter = nf_received.lookup(&reason);

	if (counter)
		nf_add(counter, pkt->frame_length);
}

static __always_inline int entry_send(const struct nf_packet *pkt)
{
	u32 port = pkt->egress;
	struct nf_counter *counter = nf_sent.lookup(&port);

	if (counter)
		nf_add(counter, pkt->frame_length);
	return nf_ports.redirect_map(port, 0);
}

/* `place` says where the walk stood, for the answer to a rejected packet to go back from there. */
static __always_inline int entry_finish(struct xdp_md *ctx, struct nf_packet *pkt, int verdict,
					u32 place)
{
	entry_count(pkt);
	if (verdict == NF_DROP)
		return XDP_DROP;
	if (verdict == NF_REJECT) {
		u32 index = 0;
		struct entry_note *note = nf_notes.lookup(&index);

		if (note)
			note->place = place;
		nf_jumps.call(ctx, NF_LINK(ENTRY_REJECT_JUMP));
		return XDP_DROP;
	}
	return entry_send(pkt);
}

/* Behind a router: straight out, or on with the walk of the egress interface. */
static __always_inline int entry_leave(struct xdp_md *ctx, struct nf_packet *pkt)
{
	entry_count(pkt);
	if (pkt->tx & ENTRY_JUMP) {
		nf_jumps.call(ctx, pkt->tx & ~ENTRY_JUMP);
		return XDP_DROP;
	}
	pkt->egress = pkt->tx;
	return entry_send(pkt);
}

#endif /* NFV_ENTRY_H */
