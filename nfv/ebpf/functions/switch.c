/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Switch: a transparent bridge (IEEE 802.1Q), without spanning tree. Frames are not changed but for their
 * VLAN tag. What is behind ports.h is common to everything that floods.
 */
#include "nf.h"
#include "ports.h"
#include "stations.h"
#if SELF_VLANS
#include "vlan.h"
#endif

/* What is flooded, each with a limit of its own. */
enum self_storm {
	SELF_BROADCAST = 0,
	SELF_MULTICAST = 1,
	SELF_UNKNOWN = 2,
	SELF_STORMS = 3,
};

struct self_port {
	u32 limit;              /* stations; 0: any number */
	u32 rates[SELF_STORMS]; /* flooded frames a second; 0: any number */
	u16 untagged;           /* VLAN of frames without tag; 0: none may come */
	u8 is_isolated;
	u8 flags; /* of the stations learned there */
	u32 reserved;
};

struct self_bucket {
	u64 credit; /* frames times jiffies a second */
	u32 filled; /* jiffies */
	u32 reserved;
};

BPF_F_TABLE("array", u32, struct self_port, self_ports, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct self_bucket, self_buckets, NF_FLAT, BPF_F_MMAPABLE);

static __always_inline struct self_port *self_port(u32 number)
{
	struct self_port *port = self_ports.sk_storage_get(0, 0, 0);

	return port + number;
}

static __always_inline u32 self_refuse(nf_ctx *ctx, u32 from, u32 way, u32 vlan)
{
	if (from >= SELF_PORTS)
		return NF_REASON_NONE;
	if (self_port(from)->is_isolated && self_port(way)->is_isolated)
		return NF_REASON_ISOLATED;
#if SELF_VLANS
	if (!self_is_member(way, vlan) || self_set_vlan(ctx, vlan, self_port(way)->untagged))
		return NF_REASON_VLAN;
#endif
	return 0;
}

/* Whether a port may flood one more frame of a kind; a tenth of a second's frames may come at once. */
static __always_inline int self_may_flood(const struct nf_packet *pkt, u32 way, u32 kind, u32 now)
{
	struct self_bucket *bucket = self_buckets.sk_storage_get(0, 0, 0);
	u64 rate = self_port(way)->rates[kind], second = SELF_SECOND, most, credit, cost = second;

	if (!rate)
		return 1;
	if (!HOOK_WHOLE)
		cost *= pkt->wire.frames;
	bucket += way * SELF_STORMS + kind;
	most = rate > 10 ? rate * second / 10 : second;
	credit = bucket->credit + rate * (u32)(now - bucket->filled);
	if (credit > most)
		credit = most;
	bucket->filled = now;
	bucket->credit = credit < cost ? credit : credit - cost;
	return credit >= cost;
}

static __always_inline int self_spread(struct nf_packet *pkt, u32 way, u32 kind, u32 now)
{
	if (!self_may_flood(pkt, way, kind, now))
		return nf_drop(pkt, NF_REASON_STORM);
	pkt->reason = NF_REASON_FLOODED;
	return NF_FLOOD;
}

/* IEEE 802.1Q, table 8-1: 01-80-c2-00-00-00 to -0f stay on their link. */
static __always_inline int self_is_reserved(const struct ethhdr *eth)
{
	const u16 *half = (const u16 *)eth->h_dest;

	return half[0] == bpf_htons(0x0180) && half[1] == bpf_htons(0xc200) &&
	       (half[2] & bpf_htons(0xfff0)) == 0;
}

/* No station sends from a group address, or from none. */
static __always_inline int self_is_station(const u8 *mac)
{
	return !(mac[0] & 1) && self_name(mac, 0);
}

static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));
	struct self_port *port = self_port(way);
	u32 vlan = 0, reason, now = bpf_jiffies64();
	s64 to;

	if (!eth)
		return nf_drop(pkt, NF_REASON_MALFORMED);
#if SELF_VLANS
	vlan = self_vlan_of(ctx, way, port->untagged);
	if (vlan == VLAN_NONE)
		return nf_drop(pkt, NF_REASON_VLAN);
#endif
	if (!self_is_station(eth->h_source))
		return nf_drop(pkt, NF_REASON_SOURCE);
	reason = self_learn(self_name(eth->h_source, vlan), way, port->limit, port->flags, now);
	if (reason)
		return nf_drop(pkt, reason);
	if (self_is_reserved(eth))
		return nf_drop(pkt, NF_REASON_RESERVED);
	pkt->told = self_told(way, vlan);
	if (eth->h_dest[0] & 1)
		return self_spread(pkt, way,
				   self_name(eth->h_dest, 0) == 0xffffffffffffull ? SELF_BROADCAST
										  : SELF_MULTICAST,
				   now);
	to = self_find(self_name(eth->h_dest, vlan), now);
	if (to < 0 || to >= SELF_PORTS)
		return self_spread(pkt, way, SELF_UNKNOWN, now);
	if (to == way)
		return nf_drop(pkt, NF_REASON_SAME_PORT);
	return self_select(pkt, to);
}
