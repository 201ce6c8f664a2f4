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
#include "hop.h"
#include "prefixes.h"

#ifndef SELF_SHIFT4 /* sizes of the tables, see nfv/ebpf/tableshape.py; known when programs are loaded */
#define SELF_SHIFT4 48
#define SELF_MASK4 0
#define SELF_BANK4 0
#define SELF_MASK6 0
#define SELF_BANK6 0
#endif

#ifndef SELF_REVERSE_PATH /* 1: some interface looks where the ways back to sources lead */
#define SELF_REVERSE_PATH 0
#endif

/* One interface of the router. */
struct self_interface {
	u8 mac[ETH_ALEN];
	u8 up;    /* 0: forward nothing, the kernel decides */
	u8 check; /* enum self_check */
	u32 port;
	u32 reserved;
};

/* What is asked of the way back to a packet's source (RFC 3704). */
enum self_check {
	SELF_UNCHECKED = 0,
	SELF_STRICT = 1, /* it leads by the interface that the packet came in by */
	SELF_LOOSE = 2,  /* there is one */
};

/*
 * A next hop with its link-layer rewrite: of one route, whose packets are counted under its number, or
 * shared by routes that lead there. While another neighbour takes its place, the action is to punt. Entry
 * 0 is the kernel. What is behind the MAC addresses is user space's affair (nfv/dataplane/routing/routecounts.py).
 */
struct self_adjacency {
	u32 action; /* enum self_action */
	u32 egress; /* port of the router's interface; 0: none */
	u32 tx;     /* port at the end of that interface's chain, if nothing is in between */
	u32 mtu;    /* of the interface, bytes from the IP header on */
	u8 dst_mac[ETH_ALEN]; /* the two as in a frame */
	u8 src_mac[ETH_ALEN];
	u8 version; /* of the route's prefix; 0 if it is shared */
	u8 length;
	u16 reserved;
	u8 prefix[16];             /* IPv4 in the last four */
	struct nf_counter carried; /* counted for the route before, modulo 2^64 */
};

/*
 * Where packets go whose destination no prefix covers: the number of an adjacency. Beside it are the
 * banks that are in use, SELF_BANK of the table; that of the adjacencies is user space's affair.
 */
#define SELF_OWN_BITS 4096
#define SELF_OWN_HASH 0x9e3779b1

struct self_default {
	u32 ipv4;
	u32 ipv6;
	u64 own[SELF_OWN_BITS / 64]; /* a bit by the hash of each IPv4 address of the router's */
};

/*
 * Next hops that share the traffic of a route by a hash of the addresses (RFC 2992): the number of an
 * adjacency in each place, as many places as its weight asks for. The number of a group has SELF_GROUP.
 */
#define SELF_GROUP 0x1000000
#define SELF_PLACES 64

struct self_group {
	u32 adjacency[SELF_PLACES];
};

#define SELF_OFF 0xffffffff /* there is no table: the kernel routes everything */
#define SELF_BANK_AT 31
#define SELF_DEFAULT 0x3fffffff

enum self_action {
	SELF_PUNT = 0,
	SELF_FORWARD = 1,
	SELF_BLACKHOLE = 2,
	SELF_OWN = 3, /* punt: an IPv4 address of the router's, or of its loopback device */
};

BPF_F_TABLE("array", u32, struct self_interface, self_interfaces, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct self_adjacency, self_adjacencies, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct self_group, self_groups, 1, BPF_F_MMAPABLE);
BPF_TABLE("percpu_array", u32, struct nf_counter, self_routed, 1);
BPF_F_TABLE("array", u32, struct self_default, self_defaults, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct prefixes_line, self_fib4, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct prefixes_line, self_fib6, NF_FLAT, BPF_F_MMAPABLE);

/*
 * The number of the adjacency that the longest prefix of an address leads to, 0 if there is none. The
 * first bits of an address, all but SELF_SHIFT4 of 64, select in the root of its table.
 */
static __always_inline u32 self_lookup4(u32 bank, u32 address)
{
	const struct prefixes_line *root = self_fib4.sk_storage_get(0, 0, 0);
	u64 shift = SELF_SHIFT4, half = (u64)bpf_ntohl(address) << 32;
	u32 entry;

	root += bank * SELF_BANK4;
	entry = root->word[half >> shift];
	return prefixes_follow(root + (1ull << (60 - shift)), SELF_MASK4, entry, half, 64 - shift,
			       2);
}

static __always_inline u32 self_lookup6(u32 bank, const u32 *address)
{
	const struct prefixes_line *root = self_fib6.sk_storage_get(0, 0, 0);
	u64 half = (u64)bpf_ntohl(address[0]) << 32 | bpf_ntohl(address[1]);
	u32 entry;

	root += bank * SELF_BANK6;
	entry = root->word[half >> 48];
	root += 1 << 12;
	entry = prefixes_follow(root, SELF_MASK6, entry, half, 16, 6);
	if (!(entry & PREFIXES_CHILD))
		return entry;
	half = (u64)bpf_ntohl(address[2]) << 32 | bpf_ntohl(address[3]);
	return prefixes_follow(root, SELF_MASK6, entry, half, 0, 8);
}

/* RFC 1812, section 5.3.7, and RFC 6890: sources that may not be forwarded. As Linux, class E may be. */
static __always_inline int self_martian4(u64 address)
{
	u64 first = address & 0xff; /* as it lies in memory */

	return !first || first == 127 || (first & 0xf0) == 0xe0 || (u32)address == 0xffffffff;
}

/* Whether an IPv4 address may be the router's own: another one may have the same bit. */
static __always_inline int self_maybe_own(u32 address)
{
	const struct self_default *defaults = self_defaults.sk_storage_get(0, 0, 0);
	u32 bit = address * SELF_OWN_HASH >> 20;

	return defaults->own[bit >> 6] >> (bit & 63) & 1;
}

/*
 * What the longest prefix of an address leads to: the number of an adjacency or a group, and what no
 * prefix covers goes where the default says. 0 where there is no table.
 */
static __always_inline u32 self_number4(u32 address)
{
	const struct self_default *defaults = self_defaults.sk_storage_get(0, 0, 0);
	u32 otherwise = defaults->ipv4, found;

	if (otherwise == SELF_OFF)
		return 0;
	found = self_lookup4(otherwise >> SELF_BANK_AT, address);
	return found ? found : otherwise & SELF_DEFAULT;
}

static __always_inline u32 self_number6(const u32 *address)
{
	const struct self_default *defaults = self_defaults.sk_storage_get(0, 0, 0);
	u32 otherwise = defaults->ipv6, found;

	if (otherwise == SELF_OFF)
		return 0;
	found = self_lookup6(otherwise >> SELF_BANK_AT, address);
	return found ? found : otherwise & SELF_DEFAULT;
}

/* Whether it is: what its own prefix leads to says so. */
static __always_inline int self_is_own(u32 address)
{
	u32 number = self_number4(address);
	struct self_adjacency *found = self_adjacencies.lookup(&number);

	return found && found->action == SELF_OWN;
}

static __always_inline int self_link_local6(const u32 *address)
{
	return (address[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

#if SELF_REVERSE_PATH
/* Whether the way back by an adjacency is one that the interface asks for. */
static __always_inline int self_leads_back(const struct self_interface *interface, u32 number)
{
	struct self_adjacency *back = self_adjacencies.lookup(&number);

	if (!back || back->action == SELF_BLACKHOLE || !back->egress)
		return 0;
	return interface->check == SELF_LOOSE || back->egress == interface->port;
}

/* Of several next hops, one is enough. */
static __always_inline int self_any_leads_back(const struct self_interface *interface, u32 number)
{
	u32 index = number & (SELF_GROUP - 1);
	struct self_group *group;

	if (!(number & SELF_GROUP))
		return self_leads_back(interface, number);
	group = self_groups.lookup(&index);
	for (u32 place = 0; group && place < SELF_PLACES; place++) {
		if (self_leads_back(interface, group->adjacency[place]))
			return 1;
	}
	return 0;
}

/* Whether a packet may come in by the interface, for all that is known of its source. */
static __always_inline int self_came_right(const struct nf_packet *pkt,
					   const struct self_interface *interface)
{
	const struct self_default *defaults = self_defaults.sk_storage_get(0, 0, 0);
	u32 number;

	if (!interface->check)
		return 1;
	if (pkt->family == 4) {
		if (defaults->ipv4 == SELF_OFF)
			return 1;
		number = self_number4(pkt->src[0]);
	} else {
		if (defaults->ipv6 == SELF_OFF || self_link_local6(pkt->src))
			return 1;
		number = self_number6(pkt->src);
	}
	return self_any_leads_back(interface, number);
}
#else
static __always_inline int self_came_right(const struct nf_packet *pkt,
					   const struct self_interface *interface)
{
	return 1;
}
#endif

/* RFC 4291, section 2.5: unspecified, loopback, multicast. */
static __always_inline int self_martian6(const u32 *address)
{
	if ((address[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000))
		return 1;
	return !address[0] && !address[1] && !address[2] && !(address[3] & ~bpf_htonl(1));
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
	if (self_maybe_own(pkt->src[0]) && self_is_own(pkt->src[0]))
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
	if (!self_came_right(pkt, interface))
		return nf_drop(pkt, NF_REASON_REVERSE_PATH);
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
	pkt->egress = hop->egress;
	pkt->tx = hop->tx;
	pkt->reason = NF_REASON_FORWARDED;
	return NF_FORWARD;
}

/* The number of the adjacency that a packet of these addresses takes, of a group or by itself. */
static __always_inline u32 self_choose(u32 number, u64 addresses)
{
	u64 place = addresses * 0x9e3779b97f4a7c15ull >> 58;
	u32 index = number & (SELF_GROUP - 1);
	struct self_group *group;

	if (!(number & SELF_GROUP))
		return number;
	group = self_groups.lookup(&index);
	return group ? group->adjacency[place & (SELF_PLACES - 1)] : 0;
}

/* The number of the adjacency for an IPv4 packet, 0 for the kernel; its addresses as they lie in memory. */
static __always_inline u32 self_route4(u64 addresses)
{
	return self_choose(self_number4(addresses >> 32), addresses);
}

static __always_inline u32 self_route6(const u32 *src, const u32 *dst)
{
	u64 addresses = (u64)(dst[0] ^ dst[2] ^ src[1] ^ src[3]) << 32 |
			(dst[1] ^ dst[3] ^ src[0] ^ src[2]);

	return self_choose(self_number6(dst), addresses);
}

/* Count a packet for the route that it takes. */
static __always_inline void self_count(struct nf_packet *pkt, u32 number)
{
	struct nf_counter *routed = self_routed.lookup(&number);

	pkt->counter = number;
	if (routed)
		nf_count(routed, pkt);
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
	if (pkt->family == 4)
		index = self_route4((u64)pkt->dst[0] << 32 | pkt->src[0]);
	else
		index = self_route6(pkt->src, pkt->dst);
	pkt->next_hop = index;
	hop = self_adjacencies.lookup(&index);
	if (!hop || hop->action == SELF_PUNT || hop->action == SELF_OWN)
		return nf_punt(pkt, NF_REASON_LOCAL);
	if (hop->action == SELF_BLACKHOLE) {
		self_count(pkt, index);
		return nf_drop(pkt, NF_REASON_BLACKHOLE);
	}
	if (pkt->ttl <= 1)
		return nf_punt(pkt, NF_REASON_TTL);
	if (nf_largest(pkt) > hop->mtu)
		return nf_punt(pkt, NF_REASON_TOO_BIG);
	self_count(pkt, index);
	return self_rewrite(pkt, hop);
}

static __always_inline int self_forward4(nf_ctx *ctx, u8 *frame, u64 name)
{
	struct plain4 plain;

	if (!plain_header4(ctx, frame, &plain) || self_martian4(plain.addresses) ||
	    self_maybe_own(plain.addresses))
		return -1;
	return hop_forward4(ctx, frame, &plain, name, self_route4(plain.addresses));
}

/* Extension headers are left to the walk, which looks whether they are sound. */
static __always_inline int self_forward6(nf_ctx *ctx, u8 *frame, u64 name)
{
	const u32 *src = (u32 *)(frame + PLAIN_IP + 8), *dst = (u32 *)(frame + PLAIN_IP + 24);
	struct plain6 plain;

	if (!plain_header6(ctx, frame, &plain) || self_martian6(src) || self_link_local6(src))
		return -1;
	return hop_forward6(ctx, frame, plain.hop_limit, name, self_route6(src, dst));
}

/* Sources are looked up by the walk alone. */
static __always_inline int self_is_unchecked(u32 way)
{
#if SELF_REVERSE_PATH
	struct self_interface *interface = self_interfaces.lookup(&way);

	return interface && !interface->check;
#else
	return 1;
#endif
}

/*
 * Where the router stands alone, before the walk: what the program returns for a packet whose next hop is
 * known, or -1 if it has to walk.
 */
static __always_inline int self_forward(nf_ctx *ctx, u64 port, u32 way)
{
	u64 name = PLAIN_NAME(action_now(), port);
	u8 *frame = hook_data(ctx);
	__be16 ethertype;

	if (!self_is_unchecked(way) || frame + PLAIN_BYTES > (u8 *)hook_end(ctx))
		return -1;
	ethertype = hook_ethertype(ctx, (void *)frame);
	if (ethertype == bpf_htons(ETH_P_IP))
		return self_forward4(ctx, frame, name);
	if (ethertype == bpf_htons(ETH_P_IPV6) && frame + PLAIN_BYTES_IPV6 <= (u8 *)hook_end(ctx))
		return self_forward6(ctx, frame, name);
	return -1;
}
