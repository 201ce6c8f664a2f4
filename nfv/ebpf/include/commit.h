/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The end of a walk: what the functions have edited of the packet is written into the frame, and each
 * checksum is updated once (RFC 1624).
 */
#ifndef NFV_COMMIT_H
#define NFV_COMMIT_H

#include "nf.h"
#include "checksum.h"

#define COMMIT_ADDRESSES (NF_EDIT_SRC | NF_EDIT_DST)
#define COMMIT_PORTS (NF_EDIT_SPORT | NF_EDIT_DPORT)

/* Where the checksum of a transport header is, or -1 if it has none that covers addresses or ports. */
static __always_inline int commit_checksum_at(const struct nf_packet *pkt)
{
	switch (pkt->protocol) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP:
		return 6;
	case IPPROTO_ICMP:
		return pkt->family == 4 ? 2 : -1;
	case IPPROTO_ICMPV6:
		return pkt->family == 6 ? 2 : -1;
	}
	return -1;
}

/* The ports or the echo identifier; returns what the checksum's complement gains. */
static __always_inline u32 commit_ports(nf_ctx *ctx, const struct nf_packet *pkt)
{
	u16 *half = nf_at(ctx, pkt->l4_offset, sizeof(struct udphdr));
	u32 gain = 0;

	if (!half)
		return 0;
	if (pkt->edits & NF_EDIT_SPORT) {
		gain += checksum_change(half[0], pkt->sport);
		half[0] = pkt->sport;
	}
	if (pkt->edits & NF_EDIT_DPORT) {
		gain += checksum_change(half[1], pkt->dport);
		half[1] = pkt->dport;
	}
	if (pkt->edits & NF_EDIT_ECHO) {
		gain += checksum_change(half[2], pkt->echo_id);
		half[2] = pkt->echo_id;
	}
	return gain;
}

/* Ports and checksum of the transport header; `addresses` is what changed in the pseudo-header. */
static __always_inline void commit_l4(nf_ctx *ctx, const struct nf_packet *pkt, u32 addresses)
{
	int at = commit_checksum_at(pkt);
	u32 gain;

	if (!pkt->has_l4)
		return;
	if (pkt->protocol == IPPROTO_ICMP) /* covers no addresses */
		addresses = 0;
	gain = commit_ports(ctx, pkt);
	if (at >= 0 && addresses + gain)
		hook_checksum(ctx, (pkt->l4_offset + at) & NF_OFFSET_MASK,
			      pkt->protocol == IPPROTO_UDP, addresses, gain);
}

/* One IPv4 address; returns what a checksum's complement gains. */
static __always_inline u32 commit_address4(u32 *address, u32 edited)
{
	u32 gain = checksum_change(*address, edited);

	*address = edited;
	return gain;
}

static __always_inline u32 commit_address6(u32 *address, const u32 *edited)
{
	u32 gain = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		gain += commit_address4(&address[i], edited[i]);
	return gain;
}

/*
 * The DSCP (RFC 2474), of which the first 16 bits of the header have 6 at `shift`; returns what the
 * checksum of IPv4's complement gains.
 */
static __always_inline u32 commit_dscp(u16 *first, u32 dscp, u32 shift)
{
	u16 before = *first;

	*first = bpf_htons((bpf_ntohs(before) & ~(0x3f << shift)) | dscp << shift);
	return checksum_change(before, *first);
}

static __always_inline void commit_ipv4(nf_ctx *ctx, const struct nf_packet *pkt)
{
	struct iphdr *ip = nf_l3(ctx, sizeof(*ip));
	u32 addresses = 0, hop = 0;

	if (!ip)
		return;
	if (pkt->edits & NF_EDIT_HOP) {
		u16 *ttl_protocol = (u16 *)&ip->ttl;
		u16 before = *ttl_protocol;

		ip->ttl = pkt->ttl;
		hop = checksum_change(before, *ttl_protocol);
	}
	if (pkt->edits & NF_EDIT_DSCP)
		hop += commit_dscp((u16 *)ip, pkt->dscp, 2);
	if (pkt->edits & NF_EDIT_SRC)
		addresses += commit_address4(&ip->saddr, pkt->src[0]);
	if (pkt->edits & NF_EDIT_DST)
		addresses += commit_address4(&ip->daddr, pkt->dst[0]);
	ip->check = checksum_gain(ip->check, hop + addresses);
	if (pkt->edits & ~NF_EDIT_HOP)
		commit_l4(ctx, pkt, addresses);
}

static __always_inline void commit_ipv6(nf_ctx *ctx, const struct nf_packet *pkt)
{
	struct ipv6hdr *ip = nf_l3(ctx, sizeof(*ip));
	u32 addresses = 0;

	if (!ip)
		return;
	if (pkt->edits & NF_EDIT_HOP)
		ip->hop_limit = pkt->ttl;
	if (pkt->edits & NF_EDIT_DSCP)
		commit_dscp((u16 *)ip, pkt->dscp, 6);
	if (pkt->edits & NF_EDIT_SRC)
		addresses += commit_address6((u32 *)&ip->saddr, pkt->src);
	if (pkt->edits & NF_EDIT_DST)
		addresses += commit_address6((u32 *)&ip->daddr, pkt->dst);
	if (pkt->edits & ~NF_EDIT_HOP)
		commit_l4(ctx, pkt, addresses);
}

/* Afterwards the frame is what the context says. */
static __always_inline void commit_packet(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));

	if (!pkt->edits || !eth)
		return;
	if (pkt->edits & NF_EDIT_HOP)
		__builtin_memcpy(eth, pkt->macs, sizeof(pkt->macs));
	if (pkt->family == 4)
		commit_ipv4(ctx, pkt);
	else
		commit_ipv6(ctx, pkt);
	pkt->edits = 0;
}

#endif /* NFV_COMMIT_H */
