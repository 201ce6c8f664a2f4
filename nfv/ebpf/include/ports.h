/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ports of a function that floods: a switch or a hub. A port whose chain is a cable to a SAP leads
 * straight to its device. Any other has a program that walks its chain, and a veth pair in the fabric: what
 * is sent into one end enters that program at the other. So a flooded frame is one copy a device, and each
 * copy that has functions to pass passes them.
 *
 * The program behind a port is told with each frame which port it came in by and in which VLAN: it looks
 * whether the frame may leave there (self_refuse), and gives it the form that it has behind the port.
 */
#include "nf.h"
#include "entry.h"

#ifndef SELF_PORTS
#define SELF_PORTS 64
#endif

#define PORTS_TOLD 0x80000000u
#define PORTS_FROM_SHIFT 16
#define PORTS_FROM_MASK 0x7fff
#define PORTS_VLAN_MASK 0xfff

/* Where a port leads; written by nfv/dataplane/change/portleads.py. */
struct self_lead {
	u32 tx;    /* port of the SAP, or ENTRY_JUMP and the place of the walk; 0: nowhere */
	u32 index; /* ifindex, in the fabric, of the device for copies of a flooded frame */
	u32 tells; /* whether some port of the function has a program, which must be told */
	u32 reserved;
};

BPF_F_TABLE("array", u32, struct self_lead, self_leads, NF_FLAT, BPF_F_MMAPABLE);
#ifndef NFV_TC
BPF_DEVMAP(self_floods, 1); /* the devices again */
#endif

/* Why a frame that came in by port `from` may not leave by port `way`; else 0, and it has been changed. */
static __always_inline u32 self_refuse(nf_ctx *ctx, u32 from, u32 way, u32 vlan);

static __always_inline struct self_lead *self_lead(u32 port)
{
	struct self_lead *lead = self_leads.sk_storage_get(0, 0, 0);

	return lead + port;
}

/* What the program behind a port is told of a frame that came in by port `way`. */
static __always_inline u32 self_told(u32 way, u32 vlan)
{
	return PORTS_TOLD | way << PORTS_FROM_SHIFT | vlan;
}

/* To the one port that the frame is for: NF_FORWARD, unless no chain is there. */
static __always_inline int self_select(struct nf_packet *pkt, u32 port)
{
	pkt->tx = self_lead(port)->tx;
	if (!pkt->tx)
		return nf_drop(pkt, NF_REASON_NO_CHAIN);
	pkt->reason = NF_REASON_FORWARDED;
	return NF_FORWARD;
}

/* Before the walk behind that port goes on in another program: NF_FORWARD if it could be told. */
static __always_inline int self_tell(nf_ctx *ctx, struct nf_packet *pkt)
{
	commit_packet(ctx, pkt);
	return hook_tell(ctx, pkt->told) ? nf_drop(pkt, NF_REASON_NONE) : NF_FORWARD;
}

static __always_inline void self_count_sent(const struct nf_packet *pkt, u32 port)
{
	struct nf_counter *counter = nf_sent.lookup(&port);

	if (counter)
		nf_count(counter, pkt);
}

/* At XDP one call makes all copies; at TC `hook_copy` has made them. */
static __always_inline int self_broadcast(void)
{
#ifdef NFV_TC
	return HOOK_DROP;
#else
	return self_floods.redirect_map(0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
#endif
}

/* A copy to every port but the one that the frame came in by. */
static __always_inline int self_flood(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	entry_count(pkt);
	commit_packet(ctx, pkt);
	if (self_lead(way)->tells && hook_tell(ctx, pkt->told))
		return HOOK_DROP;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < SELF_PORTS; i++) {
		struct self_lead *lead = self_lead(i);

		if (i == way || !lead->tx)
			continue;
		if (!(lead->tx & ENTRY_JUMP))
			self_count_sent(pkt, lead->tx);
		hook_copy(ctx, lead->index);
	}
	return self_broadcast();
}

/*
 * Where a frame comes out of the switch, in the program behind port `way`: what the program returns if it
 * ends here, or -1.
 */
static __always_inline int self_leave(nf_ctx *ctx, u32 way)
{
	u32 told = hook_told(ctx), from = told >> PORTS_FROM_SHIFT & PORTS_FROM_MASK, reason;

	if (!(told & PORTS_TOLD))
		return entry_discard(ctx, NF_REASON_NONE);
	if (from == way)
		return HOOK_DROP;
	reason = self_refuse(ctx, from, way, told & PORTS_VLAN_MASK);
	return reason ? entry_discard(ctx, reason) : -1;
}
