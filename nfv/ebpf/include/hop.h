/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a router stands alone, a packet's next hop says all: what became of the last packet that went
 * there is kept, as an action, and done again. The router still looks up each packet's destination, so
 * the cost does not depend on the number of flows. As with flows, the walk makes the entries.
 */
#ifndef NFV_HOP_H
#define NFV_HOP_H

#include "action.h"

#define HOP_PLACES 4096 /* of each CPU; a power of two */

struct hop {
	u64 name; /* next hop, and PLAIN_NAME with the lowest bit set for IPv6: never 0 */
	u32 action;
	u32 reserved;
};

BPF_F_TABLE("array", u32, struct hop, nf_hops, NF_FLAT, BPF_F_MMAPABLE);

static __always_inline u64 hop_name(u64 name, u64 is_ipv6, u64 next_hop)
{
	return name | is_ipv6 | next_hop << 32;
}

/* The place for a name, which another one may have. */
static __always_inline struct hop *hop_place(u64 cpu, u64 name)
{
	struct hop *hop = nf_hops.sk_storage_get(0, 0, 0);

	hop += (cpu & NF_LINK(ENTRY_CPUS)) * HOP_PLACES +
	       (name * 0x9e3779b97f4a7c15ull >> 52 & (HOP_PLACES - 1));
	NF_OPAQUE(hop);
	return hop;
}

/* The action for a name, or 0 if it is not known. */
static __always_inline struct action *hop_action(u64 cpu, u64 name)
{
	struct hop *hop = hop_place(cpu, name);

	return hop->name == name ? action_at(hop->action) : 0;
}

/* Forward an IPv4 packet to its next hop; -1 if it has to walk. */
static __always_inline int hop_forward4(nf_ctx *ctx, u8 *frame, const struct plain4 *plain,
					u64 name, u64 next_hop)
{
	u64 cpu = bpf_get_smp_processor_id();
	struct hook_wire wire;
	struct action *action = hop_action(cpu, hop_name(name, 0, next_hop));

	hook_measure(ctx, &wire);
	if (!action || wire.largest > action->mtu || !action_routes4(action, plain, frame))
		return -1;
	action_macs(action, frame);
	action_header4(action, plain, frame, 0);
	return action_send(ctx, action, &wire);
}

static __always_inline int hop_forward6(nf_ctx *ctx, u8 *frame, u64 hop_limit, u64 name,
					u64 next_hop)
{
	u64 cpu = bpf_get_smp_processor_id();
	struct hook_wire wire;
	struct action *action = hop_action(cpu, hop_name(name, 1, next_hop));

	hook_measure(ctx, &wire);
	if (!action || wire.largest > action->mtu)
		return -1;
	return action_route6(ctx, action, frame, hop_limit, &wire);
}

/* At the end of a walk through the router that sends the packet on, before it is edited. */
static __always_inline void hop_keep(nf_ctx *ctx, const struct nf_packet *pkt, u32 port)
{
	u8 *data_end = hook_end(ctx), *frame = hook_data(ctx);
	u64 name = hop_name(PLAIN_NAME(pkt->epoch, port), pkt->family == 6, pkt->next_hop);
	struct action_path path = {};
	struct hop *hop;
	s64 place;

	if (pkt->fleeting || pkt->edits != NF_EDIT_HOP || frame + PLAIN_BYTES > data_end)
		return;
	action_path(&path, pkt, frame, bpf_get_smp_processor_id(), port);
	place = action_place(&path);
	if (place < 0)
		return;
	hop = hop_place(path.cpu, name);
	hop->action = place;
	hop->name = name;
}

#endif /* NFV_HOP_H */
