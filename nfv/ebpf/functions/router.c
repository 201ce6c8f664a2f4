/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Router, IPv4 (RFC 1812) and IPv6 (RFC 8200).
 *
 * Forwards what needs nothing but a route and a resolved neighbour. Everything else goes to the kernel
 * of the router's namespace, which holds the same addresses and routes: ARP and neighbour discovery,
 * packets for the router itself, TTL that runs out, options, fragmentation, packets too big.
 */
#include "nf.h"
#include "checksum.h"
#include "lpm.h"

/* One interface of the router. */
struct self_interface {
	u8 mac[ETH_ALEN];
	u16 up; /* 0: forward nothing, the kernel decides */
};

/*
 * A next hop with its link-layer rewrite. An entry never changes while a route refers to it: a changed
 * neighbour gets another entry. Entry 0 is the kernel.
 */
struct self_adjacency {
	u32 action; /* enum self_action */
	u32 egress; /* port of the router's interface */
	u32 tx;     /* port at the end of that interface's chain, if nothing is in between */
	u32 mtu;    /* of the interface, bytes from the IP header on */
	u8 dst_mac[ETH_ALEN]; /* the two as in a frame */
	u8 src_mac[ETH_ALEN];
	u32 reserved;
};

/*
 * Where the tries begin: 256 nodes each, one for every value of an address's first byte. Naming another
 * beginning puts a table built beside the running one in its place; one out of range means that the
 * kernel routes everything.
 */
struct self_roots {
	u32 fib4;
	u32 fib6;
};

enum self_action {
	SELF_PUNT = 0,
	SELF_FORWARD = 1,
	SELF_BLACKHOLE = 2,
};

BPF_F_TABLE("array", u32, struct self_interface, self_interfaces, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct self_adjacency, self_adjacencies, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct self_roots, self_tables, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lpm_node, self_fib4, 256, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct lpm_node, self_fib6, 256, BPF_F_MMAPABLE);

/* The number of the adjacency for an address. */
static __always_inline u32 self_lookup4(u32 root, const u8 *address)
{
	u32 slot = root + address[0];

#pragma unroll
	for (int i = 1; i < 4; i++) {
		u32 index = slot & ~LPM_CHILD;
		struct lpm_node *node = self_fib4.lookup(&index);

		if (!node)
			return 0;
		slot = node->slot[address[i]];
		if (!(slot & LPM_CHILD))
			return slot;
	}
	return 0;
}

static __always_inline u32 self_lookup6(u32 root, const u8 *address)
{
	u32 slot = root + address[0];

#pragma clang loop unroll(disable)
	for (int i = 1; i < 16; i++) {
		u32 index = slot & ~LPM_CHILD;
		struct lpm_node *node = self_fib6.lookup(&index);

		if (!node)
			return 0;
		slot = node->slot[address[i]];
		if (!(slot & LPM_CHILD))
			return slot;
	}
	return 0;
}

/* RFC 1812, section 5.3.7, and RFC 6890: sources that may not be forwarded. */
static __always_inline int self_martian4(u32 address)
{
	u8 first = bpf_ntohl(address) >> 24;

	return first == 0 || first == 127 || first >= 240 || (first & 0xf0) == 224;
}

/* RFC 4291, section 2.5: unspecified, loopback, multicast. */
static __always_inline int self_martian6(const u32 *address)
{
	if ((address[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000))
		return 1;
	return !address[0] && !address[1] && !address[2] && !(address[3] & ~bpf_htonl(1));
}

static __always_inline int self_link_local6(const u32 *address)
{
	return (address[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Frames for this station: 1 unicast, 2 broadcast or multicast, 0 neither. */
static __always_inline int self_station(const struct ethhdr *eth,
					const struct self_interface *interface)
{
	const u16 *to = (const u16 *)eth->h_dest, *own = (const u16 *)interface->mac;

	if (to[0] == own[0] && to[1] == own[1] && to[2] == own[2])
		return 1;
	return eth->h_dest[0] & 1 ? 2 : 0;
}

static __always_inline int self_admit4(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct iphdr *ip = nf_l3(ctx, sizeof(*ip));

	if (!ip || checksum_fold(checksum_ipv4(ip)))
		return nf_drop(pkt, NF_REASON_CHECKSUM);
	if (self_martian4(pkt->src[0]))
		return nf_drop(pkt, NF_REASON_SOURCE);
	return NF_NEXT;
}

static __always_inline int self_admit6(struct nf_packet *pkt)
{
	if (self_martian6(pkt->src))
		return nf_drop(pkt, NF_REASON_SOURCE);
	if (self_link_local6(pkt->src))
		return nf_punt(pkt, NF_REASON_LINK_LOCAL);
	return NF_NEXT;
}

/* What only the kernel may handle, or nobody; NF_NEXT for a packet that can be routed here. */
static __always_inline int self_admit(nf_ctx *ctx, struct nf_packet *pkt,
				      const struct self_interface *interface)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));
	int station = eth ? self_station(eth, interface) : 0;

	if (!station)
		return nf_drop(pkt, NF_REASON_OTHER_HOST);
	if (!pkt->family)
		return nf_punt(pkt, NF_REASON_CONTROL);
	if (station == 2)
		return nf_punt(pkt, NF_REASON_LINK_LOCAL);
	if (!interface->up)
		return nf_punt(pkt, NF_REASON_LOCAL);
	if (pkt->options)
		return nf_punt(pkt, NF_REASON_OPTIONS);
	/* The kernel trims what follows the packet; in a minimal frame it is the usual padding. */
	if (pkt->frame_length > ETH_ZLEN && pkt->frame_length != pkt->packet_length + sizeof(*eth))
		return nf_punt(pkt, NF_REASON_PADDING);
	return pkt->family == 4 ? self_admit4(ctx, pkt) : self_admit6(pkt);
}

static __always_inline int self_rewrite(struct nf_packet *pkt, const struct self_adjacency *hop)
{
	__builtin_memcpy(pkt->macs, hop->dst_mac, sizeof(pkt->macs));
	pkt->ttl--;
	pkt->edits |= NF_EDIT_HOP;
	pkt->hops++;
	if (pkt->mtu > hop->mtu)
		pkt->mtu = hop->mtu;
	pkt->counter = NF_COUNTED_WALK;
	pkt->egress = hop->egress;
	pkt->tx = hop->tx;
	pkt->reason = NF_REASON_FORWARDED;
	return NF_FORWARD;
}

/* The number of the adjacency for the packet's destination. */
static __always_inline u32 self_route(const struct nf_packet *pkt)
{
	struct self_roots *roots;
	u32 index = 0;

	roots = self_tables.lookup(&index);
	if (!roots)
		return 0;
	if (pkt->family == 4)
		return self_lookup4(roots->fib4, (const u8 *)pkt->dst);
	return self_lookup6(roots->fib6, (const u8 *)pkt->dst);
}

/*
 * `way` is the ordinal of the interface that the packet came in by. On NF_FORWARD the packet is
 * rewritten for its next hop; on NF_PUNT it is as it came.
 */
static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	struct self_interface *interface = self_interfaces.lookup(&way);
	struct self_adjacency *hop;
	int verdict;
	u32 index;

	if (!interface)
		return nf_drop(pkt, NF_REASON_NONE);
	verdict = self_admit(ctx, pkt, interface);
	if (verdict != NF_NEXT)
		return verdict;
	index = self_route(pkt);
	hop = self_adjacencies.lookup(&index);
	if (!hop || hop->action == SELF_PUNT)
		return nf_punt(pkt, NF_REASON_LOCAL);
	if (hop->action == SELF_BLACKHOLE)
		return nf_drop(pkt, NF_REASON_BLACKHOLE);
	if (pkt->ttl <= 1)
		return nf_punt(pkt, NF_REASON_TTL);
	if (nf_largest(pkt) > hop->mtu)
		return nf_punt(pkt, NF_REASON_TOO_BIG);
	return self_rewrite(pkt, hop);
}
