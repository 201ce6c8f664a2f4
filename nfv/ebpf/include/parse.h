/* SPDX-License-Identifier: GPL-2.0 */
/* From a frame to struct nf_packet. Every read is bounded; nothing is trusted. */
#ifndef NFV_PARSE_H
#define NFV_PARSE_H

#include "nf.h"

#define PARSE_EXTENSIONS 6 /* IPv6 extension headers walked */
#define PARSE_IP_OFFSET_MASK 0x1fff
#define PARSE_IP_MORE 0x2000
#define PARSE_FRAGMENT_OFFSET_MASK 0xfff8
#define PARSE_FRAGMENT_MORE 1

struct parse_fragment {
	u8 next_header;
	u8 reserved;
	__be16 offset;
	__be32 id;
};

/* Where the packet ends, from the start of the frame; what follows was never part of it. */
static __always_inline u32 parse_end(const struct nf_packet *pkt)
{
	return sizeof(struct ethhdr) + pkt->packet_length;
}

/* Ports, TCP flags or ICMP type and echo identifier. A header cut short leaves has_l4 at 0. */
static __always_inline void parse_l4(nf_ctx *ctx, struct nf_packet *pkt)
{
	u16 *half = nf_at(ctx, pkt->l4_offset, sizeof(struct udphdr));
	u32 length = parse_end(pkt) - pkt->l4_offset;
	u8 protocol = pkt->protocol;

	if (!half || length < sizeof(struct udphdr))
		return;
	if (protocol == IPPROTO_TCP) {
		u8 *flags = nf_at(ctx, pkt->l4_offset, sizeof(struct tcphdr));

		if (!flags || length < sizeof(struct tcphdr))
			return;
		pkt->tcp_flags = flags[13];
	} else if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		pkt->dport = half[0];
		pkt->echo_id = half[2];
		pkt->has_l4 = 1;
		return;
	} else if (protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP &&
		   protocol != IPPROTO_UDPLITE && protocol != IPPROTO_DCCP) {
		return;
	}
	pkt->sport = half[0];
	pkt->dport = half[1];
	pkt->has_l4 = 1;
}

static __always_inline int parse_ipv4(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct iphdr *ip = nf_l3(ctx, sizeof(*ip));
	u32 header, length, fragment;

	if (!ip)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	header = ip->ihl * 4;
	length = hook_extent(ctx, bpf_ntohs(ip->tot_len), 0);
	if (ip->version != 4 || header < sizeof(*ip) || length < header ||
	    sizeof(struct ethhdr) + length > pkt->frame_length)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	pkt->packet_length = length;
	pkt->family = 4;
	pkt->src[0] = ip->saddr;
	pkt->dst[0] = ip->daddr;
	pkt->protocol = ip->protocol;
	pkt->ttl = ip->ttl;
	pkt->options = header > sizeof(*ip);
	pkt->l4_offset = sizeof(struct ethhdr) + header;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & (PARSE_IP_MORE | PARSE_IP_OFFSET_MASK)) {
		pkt->fragment_id = ip->id;
		pkt->fragment =
			fragment & PARSE_IP_OFFSET_MASK ? NF_FRAGMENT_LATER : NF_FRAGMENT_FIRST;
	}
	return NF_NEXT;
}

/* RFC 8200, section 4: walk to the transport header, noting a fragment header on the way. */
static __always_inline int parse_extensions(nf_ctx *ctx, struct nf_packet *pkt)
{
	u32 offset = sizeof(struct ethhdr) + sizeof(struct ipv6hdr);
	u8 next = pkt->protocol;

#pragma clang loop unroll(disable)
	for (int i = 0; i < PARSE_EXTENSIONS; i++) {
		struct parse_fragment *header;

		if (next != IPPROTO_FRAGMENT && next != IPPROTO_HOPOPTS &&
		    next != IPPROTO_DSTOPTS && next != IPPROTO_ROUTING)
			break;
		header = nf_at(ctx, offset, sizeof(*header));
		if (!header)
			return nf_drop(pkt, NF_REASON_MALFORMED);
		if (next == IPPROTO_FRAGMENT) {
			u16 place = bpf_ntohs(header->offset);

			pkt->fragment_id = header->id;
			if (place & PARSE_FRAGMENT_MORE)
				pkt->fragment = NF_FRAGMENT_FIRST;
			if (place & PARSE_FRAGMENT_OFFSET_MASK)
				pkt->fragment = NF_FRAGMENT_LATER;
			offset += sizeof(*header);
		} else {
			pkt->options |= next == IPPROTO_HOPOPTS;
			/* The length, in units of 8 bytes, does not count the first. */
			offset += (header->reserved + 1) * 8;
		}
		next = header->next_header;
		if (pkt->fragment == NF_FRAGMENT_LATER)
			break;
	}
	pkt->protocol = next;
	pkt->l4_offset = offset;
	if (offset > NF_OFFSET_MASK || offset > parse_end(pkt))
		return nf_drop(pkt, NF_REASON_MALFORMED);
	return NF_NEXT;
}

static __always_inline int parse_ipv6(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct ipv6hdr *ip = nf_l3(ctx, sizeof(*ip));
	u32 length;

	if (!ip)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	length = hook_extent(ctx, bpf_ntohs(ip->payload_len), sizeof(*ip));
	if (ip->version != 6 || sizeof(struct ethhdr) + length > pkt->frame_length)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	pkt->packet_length = length;
	pkt->family = 6;
	__builtin_memcpy(pkt->src, &ip->saddr, 16);
	__builtin_memcpy(pkt->dst, &ip->daddr, 16);
	pkt->protocol = ip->nexthdr;
	pkt->ttl = ip->hop_limit;
	pkt->l4_offset = sizeof(struct ethhdr) + sizeof(*ip);
	if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP &&
	    ip->nexthdr != IPPROTO_ICMPV6)
		return parse_extensions(ctx, pkt);
	return NF_NEXT;
}

static __always_inline void parse_begin(nf_ctx *ctx, struct nf_packet *pkt)
{
	pkt->frame_length = hook_length(ctx);
	if (!HOOK_WHOLE)
		hook_measure(ctx, &pkt->wire);
	pkt->place = 0;
	pkt->edits = 0;
	pkt->sport = 0;
	pkt->dport = 0;
	pkt->echo_id = 0;
	pkt->family = 0;
	pkt->protocol = 0;
	pkt->tcp_flags = 0;
	pkt->fragment = NF_FRAGMENT_NONE;
	pkt->has_l4 = 0;
	pkt->options = 0;
	pkt->reason = NF_REASON_NONE;
}

/* NF_NEXT, or NF_DROP for what no function may see: a header that is cut short or contradictory. */
static __always_inline int parse_packet(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));
	u16 ethertype;
	int verdict;

	parse_begin(ctx, pkt);
	if (!eth)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	ethertype = bpf_ntohs(hook_ethertype(ctx, eth));
	pkt->ethertype = ethertype;
	if (ethertype == ETH_P_IP)
		verdict = parse_ipv4(ctx, pkt);
	else if (ethertype == ETH_P_IPV6)
		verdict = parse_ipv6(ctx, pkt);
	else
		return NF_NEXT;
	if (verdict == NF_NEXT && pkt->fragment != NF_FRAGMENT_LATER)
		parse_l4(ctx, pkt);
	return verdict;
}

#endif /* NFV_PARSE_H */
