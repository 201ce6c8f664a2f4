/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mappings of a NAT: an inside endpoint has an outside one, in two hash tables, one for each
 * direction. An entry of the second is made only if there is none, so no two inside endpoints ever have
 * the same outside one, whatever CPUs do at once. The agent ages both (nfv/ebpf/mappings.py).
 */
#include "natplan.h"
#include "outports.h"
#include "quoted.h"
#include "quota.h"

/* What a mapping depends on besides the inside endpoint, and who may send to it (RFC 4787, section 4.1). */
#define SELF_INDEPENDENT 0
#define SELF_ADDRESS 1
#define SELF_ADDRESS_PORT 2

#ifndef SELF_MAPPING
#define SELF_MAPPING SELF_INDEPENDENT
#define SELF_FILTERING SELF_INDEPENDENT
#endif

#define SELF_TCP_FIN 0x01
#define SELF_TCP_SYN 0x02
#define SELF_TCP_RST 0x04

/* The flags of one direction. */
#define SELF_FIN 1
#define SELF_RST 2
#define SELF_ANSWERED 4 /* inward: a packet has come */
#define SELF_HELD 8     /* inward: over, and not yet given to another (RFC 6888, REQ-8) */

/* How old `seen` may be before it is written again: saves a dirty cache line for most packets. */
#define SELF_SEEN_SLACK 64

struct self_mapping {
	u32 address;
	u16 port;
	u16 flags;
	u32 seen;  /* jiffies of the last packet out, give or take SELF_SEEN_SLACK */
	u32 since; /* jiffies */
};

/* Where packets to an outside endpoint go: the rest of a struct self_inner. */
struct self_origin {
	u32 address;
	u32 remote;
	u16 port;
	u16 remote_port;
	u32 flags;
	u32 seen; /* jiffies of the last packet in, give or take SELF_SEEN_SLACK */
};

/* Who may send to an outside endpoint. */
struct self_remote {
	struct self_outer outer;
	u32 address;
	u16 port;
	u16 reserved;
};

struct self_permit {
	u32 address; /* of the inside endpoint, which has asked for it */
	u32 port;
	u32 seen;
};

BPF_TABLE("hash", struct self_inner, struct self_mapping, self_outward, 1);
BPF_TABLE("hash", struct self_outer, struct self_origin, self_inward, 1);
#if SELF_FILTERING
BPF_TABLE("hash", struct self_remote, struct self_permit, self_permits, 1);
#endif

/* Whether a protocol has ports that are translated. */
static __always_inline int self_has_ports(u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ||
	       protocol == IPPROTO_DCCP;
}

/* Of an ICMP query (RFC 5508, section 3) 1, of the reply to one 2, of others 0. */
static __always_inline int self_query(u8 type)
{
	if (type == 8 || type == 13 || type == 15 || type == 17)
		return 1;
	return type == 0 || type == 14 || type == 16 || type == 18 ? 2 : 0;
}

static __always_inline int self_packet_query(const struct nf_packet *pkt)
{
	return self_query(bpf_ntohs(pkt->dport) >> 8);
}

/* The port of a packet's end, or what stands for it. */
static __always_inline u16 self_end(const struct nf_packet *pkt, u16 port)
{
	if (pkt->protocol == IPPROTO_ICMP)
		return pkt->echo_id;
	return self_has_ports(pkt->protocol) ? port : 0;
}

/* The port of the far end, which an ICMP query has not. */
static __always_inline u16 self_far_port(const struct nf_packet *pkt, u16 port)
{
	return self_has_ports(pkt->protocol) ? port : 0;
}

/* Protocols without ports have one mapping for all far ends: there is but one outside endpoint. */
static __always_inline void self_name(struct self_inner *inner, u32 address, u16 port, u8 protocol,
				      u32 remote, u16 remote_port)
{
	inner->address = address;
	inner->port = port;
	inner->protocol = protocol;
	inner->remote = 0;
	inner->remote_port = 0;
	if (SELF_MAPPING >= SELF_ADDRESS && (protocol == IPPROTO_ICMP || self_has_ports(protocol)))
		inner->remote = remote;
	if (SELF_MAPPING >= SELF_ADDRESS_PORT && self_has_ports(protocol))
		inner->remote_port = remote_port;
}

/* The mapping of an inside endpoint, or NULL; one to an address that is given up is forgotten. */
static __always_inline struct self_mapping *self_known(const struct self_image *plan,
						       struct self_inner *inner)
{
	struct self_mapping *found = self_outward.lookup(inner);

	if (!found || self_is_pooled(plan, found->address))
		return found;
	if (!self_outward.delete(inner))
		self_give_back(inner->address);
	return 0;
}

/* The inside endpoint of an outside one, or NULL. */
static __always_inline struct self_origin *self_origin(struct self_outer *outer)
{
	struct self_origin *found = self_inward.lookup(outer);

	return found && !(found->flags & SELF_HELD) ? found : 0;
}

static __always_inline u32 self_closing(u8 tcp_flags)
{
	return (tcp_flags & SELF_TCP_FIN ? SELF_FIN : 0) |
	       (tcp_flags & SELF_TCP_RST ? SELF_RST : 0);
}

/* A SYN begins another connection from the same endpoint. */
static __always_inline void self_begin(struct self_mapping *found, struct self_outer *outer)
{
	struct self_origin *origin = self_inward.lookup(outer);

	found->flags = 0;
	if (origin)
		origin->flags &= SELF_HELD;
}

/* A packet out by a known mapping: only those refresh it (RFC 4787, REQ-6). */
static __always_inline void self_refresh(struct self_mapping *found, const struct nf_packet *pkt,
					 struct self_outer *outer)
{
	u32 now = bpf_jiffies64(), closing = self_closing(pkt->tcp_flags);

	if (now - found->seen > SELF_SEEN_SLACK)
		found->seen = now;
	if (pkt->protocol != IPPROTO_TCP)
		return;
	if (pkt->tcp_flags & SELF_TCP_SYN && found->flags)
		self_begin(found, outer);
	if (closing & ~found->flags)
		found->flags |= closing;
}

/* A packet in by a known mapping. */
static __always_inline void self_note(struct self_origin *found, const struct nf_packet *pkt)
{
	u32 now = bpf_jiffies64(), flags = SELF_ANSWERED;

	if (now - found->seen > SELF_SEEN_SLACK)
		found->seen = now;
	if (pkt->protocol == IPPROTO_TCP)
		flags |= self_closing(pkt->tcp_flags);
	if (flags & ~found->flags)
		found->flags |= flags;
}

/* Let the far end of a packet out send to the mapping; not 0 if there is no room to remember it. */
static __always_inline int self_permit(const struct self_outer *outer,
				       const struct self_inner *inner, u32 remote, u16 port)
{
#if SELF_FILTERING
	struct self_remote key = {
		.outer = *outer,
		.address = remote,
		.port = SELF_FILTERING >= SELF_ADDRESS_PORT ? port : 0,
	};
	struct self_permit *found = self_permits.lookup(&key), fresh = {
								       .address = inner->address,
								       .port = inner->port,
								       .seen = bpf_jiffies64(),
							       };

	if (!found || found->address != fresh.address || found->port != fresh.port)
		return self_permits.update(&key, &fresh);
	if (fresh.seen - found->seen > SELF_SEEN_SLACK)
		found->seen = fresh.seen;
#endif
	return 0;
}

/* Whether a far end may send to a mapping. */
static __always_inline int self_is_permitted(const struct self_outer *outer,
					     const struct self_origin *origin, u32 remote, u16 port)
{
#if SELF_FILTERING
	struct self_remote key = {
		.outer = *outer,
		.address = remote,
		.port = SELF_FILTERING >= SELF_ADDRESS_PORT ? port : 0,
	};
	struct self_permit *found = self_permits.lookup(&key);

	return found && found->address == origin->address && found->port == origin->port;
#else
	return 1;
#endif
}
