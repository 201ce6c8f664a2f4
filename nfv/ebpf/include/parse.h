/* SPDX-License-Identifier: GPL-2.0 */
/* From a frame to struct nf_packet. Every read is bounded; nothing is trusted. */
#ifndef NFV_PARSE_H
#define NFV_PARSE_H

#include "nf.h"

#define PARSE_VLAN_TAGS 2	/* 802.1Q and QinQ */
#define PARSE_EXTENSIONS 6	/* IPv6 extension headers walked */
#define PARSE_IP_OFFSET_MASK 0x1fff
#define PARSE_IP_MORE 0x2000

struct parse_vlan {
	__be16 tci;
	__be16 ethertype;
};

struct parse_fragment {
	u8 next_header;
	u8 reserved;
	__be16 offset;
	__be32 id;
};

/* Ports, TCP flags or ICMP type and echo identifier. A header cut short leaves has_l4 at 0. */
static __always_inline void parse_l4(struct nf_packet *pkt)
{
	void *l4 = pkt->l4;

	switch (pkt->protocol) {
	case IPPROTO_TCP:
		if (l4 + sizeof(struct tcphdr) > pkt->data_end)
			return;
		pkt->tcp_flags = ((u8 *)l4)[13];
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
		if (l4 + sizeof(struct udphdr) > pkt->data_end)
			return;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (l4 + sizeof(struct icmphdr) > pkt->data_end)
			return;
		pkt->dport = *(u16 *)l4;
		pkt->echo_id = *(u16 *)(l4 + 4);
		pkt->has_l4 = 1;
		return;
	default:
		return;
	}
	pkt->sport = *(u16 *)l4;
	pkt->dport = *(u16 *)(l4 + 2);
	pkt->has_l4 = 1;
}

static __always_inline int parse_ipv4(struct nf_packet *pkt)
{
	struct iphdr *ip = pkt->l3;
	u32 header, fragment;

	if ((void *)(ip + 1) > pkt->data_end)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	header = ip->ihl * 4;
	pkt->packet_length = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || pkt->packet_length < header ||
	    pkt->l3 - pkt->data + pkt->packet_length > pkt->frame_length)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	pkt->family = 4;
	pkt->src[0] = ip->saddr;
	pkt->dst[0] = ip->daddr;
	pkt->protocol = ip->protocol;
	pkt->ttl = ip->ttl;
	pkt->options = header > sizeof(*ip);
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & (PARSE_IP_MORE | PARSE_IP_OFFSET_MASK)) {
		pkt->fragment_id = ip->id;
		pkt->fragment = fragment & PARSE_IP_OFFSET_MASK ? NF_FRAGMENT_LATER :
								  NF_FRAGMENT_FIRST;
		if (pkt->fragment == NF_FRAGMENT_LATER)
			return NF_NEXT;
	}
	pkt->l4 = pkt->l3 + header;
	parse_l4(pkt);
	return NF_NEXT;
}

/* RFC 8200, section 4: walk to the transport header, noting a fragment header on the way. */
static __always_inline int parse_extensions(struct nf_packet *pkt)
{
	u8 next = pkt->protocol;
	void *header = pkt->l4;

#pragma unroll
	for (int i = 0; i < PARSE_EXTENSIONS; i++) {
		if (next == IPPROTO_FRAGMENT) {
			struct parse_fragment *fragment = header;
			u16 offset;

			if ((void *)(fragment + 1) > pkt->data_end)
				return nf_drop(pkt, NF_REASON_MALFORMED);
			offset = bpf_ntohs(fragment->offset);
			next = fragment->next_header;
			header += sizeof(*fragment);
			pkt->protocol = next;
			pkt->fragment_id = fragment->id;
			if (offset & ~7) {
				pkt->fragment = NF_FRAGMENT_LATER;
				return NF_NEXT;
			}
			if (offset & 1)
				pkt->fragment = NF_FRAGMENT_FIRST;
		} else if (next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS ||
			   next == IPPROTO_ROUTING) {
			u8 *option = header;

			if ((void *)(option + 2) > pkt->data_end)
				return nf_drop(pkt, NF_REASON_MALFORMED);
			if (next == IPPROTO_HOPOPTS)
				pkt->options = 1;
			next = option[0];
			header += (option[1] + 1) * 8;
		} else {
			break;
		}
	}
	pkt->protocol = next;
	pkt->l4 = header;
	return NF_NEXT;
}

static __always_inline int parse_ipv6(struct nf_packet *pkt)
{
	struct ipv6hdr *ip = pkt->l3;

	if ((void *)(ip + 1) > pkt->data_end)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	pkt->packet_length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	if (ip->version != 6 ||
	    pkt->l3 - pkt->data + pkt->packet_length > pkt->frame_length)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	pkt->family = 6;
	__builtin_memcpy(pkt->src, &ip->saddr, 16);
	__builtin_memcpy(pkt->dst, &ip->daddr, 16);
	pkt->protocol = ip->nexthdr;
	pkt->ttl = ip->hop_limit;
	pkt->l4 = pkt->l3 + sizeof(*ip);
	if (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP &&
	    pkt->protocol != IPPROTO_ICMPV6) {
		if (parse_extensions(pkt) != NF_NEXT)
			return NF_DROP;
		if (pkt->fragment == NF_FRAGMENT_LATER)
			return NF_NEXT;
	}
	parse_l4(pkt);
	return NF_NEXT;
}

/* NF_NEXT, or NF_DROP for what no function may see: a header that is cut short or contradictory. */
static __always_inline int parse_packet(struct xdp_md *ctx, struct nf_packet *pkt)
{
	struct ethhdr *eth;
	u16 ethertype;

	pkt->data = (void *)(long)ctx->data;
	pkt->data_end = (void *)(long)ctx->data_end;
#ifdef NFV_FRAGS
	pkt->frame_length = bpf_xdp_get_buff_len(ctx);
#else
	pkt->frame_length = pkt->data_end - pkt->data;
#endif
	eth = pkt->data;
	if ((void *)(eth + 1) > pkt->data_end)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	ethertype = bpf_ntohs(eth->h_proto);
	pkt->l3 = eth + 1;
#pragma unroll
	for (int i = 0; i < PARSE_VLAN_TAGS; i++) {
		struct parse_vlan *tag = pkt->l3;

		if (ethertype != ETH_P_8021Q && ethertype != ETH_P_8021AD)
			break;
		if ((void *)(tag + 1) > pkt->data_end)
			return nf_drop(pkt, NF_REASON_MALFORMED);
		ethertype = bpf_ntohs(tag->ethertype);
		pkt->l3 = tag + 1;
		pkt->tags++;
	}
	pkt->ethertype = ethertype;
	if (ethertype == ETH_P_IP)
		return parse_ipv4(pkt);
	if (ethertype == ETH_P_IPV6)
		return parse_ipv6(pkt);
	return NF_NEXT;
}

#endif /* NFV_PARSE_H */
