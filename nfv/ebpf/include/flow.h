/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The flow cache: what became of a flow's last packet, kept to be done again without the walk.
 *
 * Each CPU has a table of its own, where a flow has a choice of two places in one cache line: an entry
 * has one writer and needs no lock. It is a cache and never the truth. An entry that lost its place,
 * or was made before the last change of any table (the epoch), or is older than FLOW_LIFE, misses, and
 * the packet walks. So whatever a function keeps of a connection is brought up to date at least that
 * often, and packets that change a connection (TCP but for plain ACKs) always walk.
 */
#ifndef NFV_FLOW_H
#define NFV_FLOW_H

#include "action.h"

#define FLOW_WAYS 2
#define FLOW_SRC 26 /* from the start of an IPv4 packet's frame; so the others */
#define FLOW_DST 30
#define FLOW_UDP_CHECKSUM 40
#define FLOW_TCP_CHECKSUM 50

struct flow4 {
	u64 addresses; /* as in struct plain4; the name has the epoch */
	u64 name;
	u32 made;   /* jiffies */
	u32 action; /* its place */
	u32 address; /* the one that takes the place of the source's or the destination's, if edited */
	u16 l4_port; /* the same */
	u16 reserved;
};

struct flow_set4 {
	struct flow4 way[FLOW_WAYS];
};

struct flow6 {
	u64 addresses[4];
	u64 name;
	u32 made;
	u32 action;
	u64 reserved[2];
};

struct flow_set6 {
	struct flow6 way[FLOW_WAYS];
};

BPF_F_TABLE("array", u32, struct flow_set4, nf_flows4, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct flow_set6, nf_flows6, NF_FLAT, BPF_F_MMAPABLE);

/* The place of a flow's set: that of the CPU's first one, and the upper bits of the hash. */
static __always_inline u64 flow_place(u64 cpu, u64 hash)
{
	return ((cpu & NF_LINK(ENTRY_CPUS)) << NF_LINK(ENTRY_FLOW_BITS)) +
	       (hash >> NF_LINK(ENTRY_FLOW_SHIFT));
}

static __always_inline struct flow4 *flow_set4(u64 cpu, const struct plain4 *plain)
{
	struct flow_set4 *set = nf_flows4.sk_storage_get(0, 0, 0);

	set += flow_place(cpu, plain->addresses * 0x9e3779b97f4a7c15ull +
				       plain->name * 0xc2b2ae3d27d4eb4full);
	NF_OPAQUE(set);
	return set->way;
}

static __always_inline struct flow6 *flow_set6(u64 cpu, const struct plain6 *plain)
{
	struct flow_set6 *set = nf_flows6.sk_storage_get(0, 0, 0);
	u64 hash = plain->addresses[0] * 0x9e3779b97f4a7c15ull +
		   plain->addresses[1] * 0xc2b2ae3d27d4eb4full +
		   plain->addresses[2] * 0x165667b19e3779f9ull +
		   plain->addresses[3] * 0x85ebca77c2b2ae63ull;

	hash ^= hash >> 29;
	set += flow_place(cpu, (hash + plain->name) * 0xff51afd7ed558ccdull);
	NF_OPAQUE(set);
	return set->way;
}

static __always_inline int flow_is4(const struct flow4 *flow, const struct plain4 *plain)
{
	return flow->addresses == plain->addresses && flow->name == plain->name;
}

static __always_inline int flow_is6(const struct flow6 *flow, const struct plain6 *plain)
{
	return flow->addresses[0] == plain->addresses[0] &&
	       flow->addresses[1] == plain->addresses[1] &&
	       flow->addresses[2] == plain->addresses[2] &&
	       flow->addresses[3] == plain->addresses[3] && flow->name == plain->name;
}

/* The entry to write for a flow: the one it has, else the older of the two it may have. */
static __always_inline struct flow4 *flow_victim4(struct flow4 *way, const struct plain4 *plain,
						  u32 now)
{
	if (flow_is4(way, plain))
		return way;
	if (flow_is4(way + 1, plain) || now - way[1].made > now - way[0].made)
		return way + 1;
	return way;
}

static __always_inline struct flow6 *flow_victim6(struct flow6 *way, const struct plain6 *plain,
						  u32 now)
{
	if (flow_is6(way, plain))
		return way;
	if (flow_is6(way + 1, plain) || now - way[1].made > now - way[0].made)
		return way + 1;
	return way;
}

/* Whether what was done at that time may still be done. */
static __always_inline int flow_is_fresh(u64 made)
{
	return (u32)(bpf_jiffies64() - made) <= NF_LINK(ENTRY_FLOW_LIFE);
}

/* Put the flow's address into the packet; returns what checksums gain. */
static __always_inline u64 flow_address(u8 *frame, const struct action *action,
					const struct flow4 *flow)
{
	u32 at = action->edits & NF_EDIT_SRC ? FLOW_SRC : FLOW_DST;

	if (!(action->edits & (NF_EDIT_SRC | NF_EDIT_DST)))
		return 0;
	return commit_address4((u32 *)(frame + at), flow->address);
}

/* The same for its port. */
static __always_inline u64 flow_port(u8 *frame, const struct action *action,
				     const struct flow4 *flow)
{
	u16 *port = (u16 *)(frame + (action->edits & NF_EDIT_SPORT ? PLAIN_L4 : PLAIN_L4 + 2));
	u64 gain;

	if (!(action->edits & (NF_EDIT_SPORT | NF_EDIT_DPORT)))
		return 0;
	gain = checksum_change(*port, flow->l4_port);
	*port = flow->l4_port;
	return gain;
}

/* Edit and route a packet, and update its checksums. */
static __always_inline void flow_edit(nf_ctx *ctx, u8 *frame, const struct action *action,
				      const struct flow4 *flow, const struct plain4 *plain)
{
	u64 addresses = flow_address(frame, action, flow), ports = flow_port(frame, action, flow);
	int is_udp = (plain->third >> 8 & 0xff) == IPPROTO_UDP;

	if (action->hops)
		action_macs(action, frame);
	action_header4(action, plain, frame, addresses);
	hook_checksum(ctx, is_udp ? FLOW_UDP_CHECKSUM : FLOW_TCP_CHECKSUM, is_udp, addresses,
		      ports);
}

static __always_inline int flow_forward4(nf_ctx *ctx, u8 *frame, const struct hook_wire *wire,
					 u64 cpu, u64 name)
{
	struct action *action;
	struct plain4 plain;
	struct flow4 *flow;

	if (!plain_read4(ctx, frame, name, &plain))
		return -1;
	flow = flow_set4(cpu, &plain);
	if (!flow_is4(flow, &plain) && !flow_is4(++flow, &plain))
		return -1;
	if (!flow_is_fresh(flow->made))
		return -1;
	action = action_at(flow->action);
	if (wire->largest > action->mtu)
		return -1;
	if (action->hops && !action_routes4(action, &plain, frame))
		return -1;
	if (action->edits) {
		flow_edit(ctx, frame, action, flow, &plain);
	} else if (action->hops) {
		action_macs(action, frame);
		action_header4(action, &plain, frame, 0);
	}
	return action_send(ctx, action, wire);
}

static __always_inline int flow_forward6(nf_ctx *ctx, u8 *frame, const struct hook_wire *wire,
					 u64 cpu, u64 name)
{
	struct action *action;
	struct plain6 plain;
	struct flow6 *flow;

	if (!plain_read6(ctx, frame, name, &plain))
		return -1;
	flow = flow_set6(cpu, &plain);
	if (!flow_is6(flow, &plain) && !flow_is6(++flow, &plain))
		return -1;
	if (!flow_is_fresh(flow->made))
		return -1;
	action = action_at(flow->action);
	if (wire->largest > action->mtu)
		return -1;
	if (!action->hops)
		return action_send(ctx, action, wire);
	return action_route6(ctx, action, frame, plain.hop_limit, wire);
}

/* Before parsing: what the program returns for a packet of a known flow, or -1 if it has to walk. */
static __always_inline int flow_forward(nf_ctx *ctx, u64 port)
{
	u64 cpu = bpf_get_smp_processor_id();
	u64 name = PLAIN_NAME(action_now(), port);
	u8 *frame = hook_data(ctx);
	struct hook_wire wire;
	__be16 ethertype;

	if (frame + PLAIN_BYTES > (u8 *)hook_end(ctx))
		return -1;
	ethertype = hook_ethertype(ctx, (void *)frame);
	hook_measure(ctx, &wire);
	if (ethertype == bpf_htons(ETH_P_IP))
		return flow_forward4(ctx, frame, &wire, cpu, name);
	if (ethertype == bpf_htons(ETH_P_IPV6) && frame + PLAIN_BYTES_IPV6 <= (u8 *)hook_end(ctx))
		return flow_forward6(ctx, frame, &wire, cpu, name);
	return -1;
}

/* Whether an entry has room for what was edited: one end of the flow, and no more for IPv6. */
static __always_inline int flow_holds(const struct nf_packet *pkt)
{
	u8 edits = pkt->edits & ~NF_EDIT_HOP;

	if (pkt->family == 6)
		return !edits;
	return !(edits & ~(NF_EDIT_SRC | NF_EDIT_SPORT)) ||
	       !(edits & ~(NF_EDIT_DST | NF_EDIT_DPORT));
}

static __always_inline void flow_keep4(nf_ctx *ctx, const struct nf_packet *pkt, u8 *frame,
				       const struct action_path *path)
{
	u64 name = PLAIN_NAME(pkt->epoch, path->port);
	u32 now = bpf_jiffies64();
	struct plain4 plain;
	struct flow4 *flow;
	s64 place;

	if (!plain_read4(ctx, frame, name, &plain))
		return;
	place = action_place(path);
	if (place < 0)
		return;
	flow = flow_victim4(flow_set4(path->cpu, &plain), &plain, now);
	flow->addresses = plain.addresses;
	flow->name = plain.name;
	flow->made = now;
	flow->action = place;
	flow->address = path->edits & NF_EDIT_SRC ? pkt->src[0] : pkt->dst[0];
	flow->l4_port = path->edits & NF_EDIT_SPORT ? pkt->sport : pkt->dport;
}

static __always_inline void flow_keep6(nf_ctx *ctx, const struct nf_packet *pkt, u8 *frame,
				       const struct action_path *path)
{
	u64 name = PLAIN_NAME(pkt->epoch, path->port);
	u32 now = bpf_jiffies64();
	struct plain6 plain;
	struct flow6 *flow;
	s64 place;

	if (!plain_read6(ctx, frame, name, &plain))
		return;
	place = action_place(path);
	if (place < 0)
		return;
	flow = flow_victim6(flow_set6(path->cpu, &plain), &plain, now);
	__builtin_memcpy(flow->addresses, plain.addresses, sizeof(flow->addresses));
	flow->name = plain.name;
	flow->made = now;
	flow->action = place;
}

/*
 * At the end of a walk that sends the packet on, while the frame is still as it came in: the next one
 * of its flow need not walk.
 */
static __always_inline void flow_keep(nf_ctx *ctx, const struct nf_packet *pkt, u32 port)
{
	u8 *data_end = hook_end(ctx), *frame = hook_data(ctx);
	struct action_path path = {};

	if (pkt->fleeting || !flow_holds(pkt) || frame + PLAIN_BYTES > data_end)
		return;
	action_path(&path, pkt, frame, bpf_get_smp_processor_id(), port);
	if (pkt->family == 4)
		flow_keep4(ctx, pkt, frame, &path);
	else if (pkt->family == 6 && frame + PLAIN_BYTES_IPV6 <= data_end)
		flow_keep6(ctx, pkt, frame, &path);
}

#endif /* NFV_FLOW_H */
