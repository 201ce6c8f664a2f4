/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ICMP errors through a NAT (RFC 5508, section 4): the packet that an error quotes is translated back to
 * what its sender knows. No error makes, refreshes or ends a mapping.
 */
#include "commit.h"
#include "natedit.h"
#include "quoted.h"

/* What an error quotes. Ports are what stands for them, too; those of an ICMP query are the same. */
struct self_quote {
	u32 ip; /* where it is in the frame */
	u32 l4;
	u32 src, dst;
	u16 sport, dport;
	u32 protocol;
};

static __always_inline int self_is_error(const struct nf_packet *pkt)
{
	return pkt->protocol == IPPROTO_ICMP && pkt->has_l4 && quoted_is_error(pkt);
}

/* Read a quote; 0 if it is not the beginning of a packet. */
static __always_inline int self_read_quote(nf_ctx *ctx, const struct nf_packet *pkt,
					   struct self_quote *quote)
{
	struct iphdr *ip;
	u16 *half;

	quote->ip = pkt->l4_offset + sizeof(struct icmphdr);
	ip = quoted_at(ctx, pkt, quote->ip, sizeof(*ip));
	if (!ip || ip->version != 4 || ip->ihl < 5 ||
	    ip->frag_off & bpf_htons(PARSE_IP_OFFSET_MASK))
		return 0;
	quote->l4 = quote->ip + ip->ihl * 4;
	quote->src = ip->saddr;
	quote->dst = ip->daddr;
	quote->protocol = ip->protocol;
	half = quoted_at(ctx, pkt, quote->l4, 8);
	if (!half)
		return 0;
	if (quote->protocol == IPPROTO_ICMP) {
		if (!self_query(*(u8 *)half))
			return 0;
		quote->sport = quote->dport = half[2];
	} else if (self_has_ports(quote->protocol)) {
		quote->sport = half[0];
		quote->dport = half[1];
	}
	return 1;
}

/* Where a quoted transport header has its checksum, from its start; 0 if it has none. */
static __always_inline u32 self_quoted_checksum(const struct self_quote *quote)
{
	switch (quote->protocol) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP:
		return 6;
	case IPPROTO_ICMP:
		return 2;
	}
	return 0;
}

/* Update the quoted transport checksum, so far as it is quoted; returns what the error's own gains. */
static __always_inline u32 self_requote_checksum(nf_ctx *ctx, const struct nf_packet *pkt,
						 const struct self_quote *quote, u32 addresses,
						 u32 ports)
{
	u32 at = self_quoted_checksum(quote);
	u16 *checksum = quoted_at(ctx, pkt, quote->l4 + at, sizeof(*checksum)), before;

	if (!at || !checksum || (quote->protocol == IPPROTO_UDP && !*checksum))
		return 0;
	before = *checksum;
	if (quote->protocol != IPPROTO_ICMP)
		ports += addresses;
	*checksum = checksum_gain(before, ports);
	if (quote->protocol == IPPROTO_UDP && !*checksum)
		*checksum = 0xffff;
	return checksum_change(before, *checksum);
}

/* Put another source, or destination, into the quote; all checksums follow. */
static __always_inline void self_requote(nf_ctx *ctx, const struct nf_packet *pkt,
					 const struct self_quote *quote, int is_source, u32 address,
					 u16 port)
{
	struct iphdr *ip = quoted_at(ctx, pkt, quote->ip, sizeof(*ip));
	struct icmphdr *icmp = nf_at(ctx, pkt->l4_offset, sizeof(*icmp));
	u16 *half = quoted_at(ctx, pkt, quote->l4, 8), before;
	u32 addresses, ports = 0, gain;

	if (!ip || !icmp || !half)
		return;
	addresses = commit_address4(is_source ? &ip->saddr : &ip->daddr, address);
	before = ip->check;
	ip->check = checksum_gain(before, addresses);
	gain = addresses + checksum_change(before, ip->check);
	half += quote->protocol == IPPROTO_ICMP ? 2 : is_source ? 0 : 1;
	if (quote->protocol == IPPROTO_ICMP || self_has_ports(quote->protocol)) {
		ports = checksum_change(*half, port);
		*half = port;
	}
	gain += ports;
	gain += self_requote_checksum(ctx, pkt, quote, addresses, ports);
	icmp->checksum = checksum_gain(icmp->checksum, gain);
}

/* An error about a packet that has come in, from its receiver or a router on the way to it. */
static __always_inline int self_error_out(nf_ctx *ctx, struct nf_packet *pkt,
					  const struct self_image *plan)
{
	struct self_quote quote = {};
	struct self_mapping *found;
	struct self_inner inner = {};
	u32 address;
	u16 port;

	if (!self_read_quote(ctx, pkt, &quote))
		return nf_drop(pkt, NF_REASON_INVALID);
	address = quote.dst;
	port = quote.dport;
	if (!self_fixed(plan->inside, plan->statics, quote.protocol, &address, &port)) {
		self_name(&inner, address, port, quote.protocol, quote.src, quote.sport);
		found = self_known(plan, &inner);
		if (!found && self_pool_of(plan, pkt->src[0]) < 0)
			return self_count(pkt, SELF_UNTRANSLATED);
		if (!found)
			return nf_drop(pkt, NF_REASON_INVALID);
		address = found->address;
		port = found->port;
	}
	self_requote(ctx, pkt, &quote, 0, address, port);
	pkt->src[0] = address;
	pkt->edits |= NF_EDIT_SRC;
	return self_count(pkt, SELF_OUT);
}

/* An error about a packet that went out. */
static __always_inline int self_error_in(nf_ctx *ctx, struct nf_packet *pkt,
					 const struct self_image *plan)
{
	struct self_quote quote = {};
	struct self_origin *found;
	struct self_outer outer;
	u32 address;
	u16 port;

	if (!self_read_quote(ctx, pkt, &quote) || quote.src != pkt->dst[0])
		return nf_drop(pkt, NF_REASON_UNSOLICITED);
	address = quote.src;
	port = quote.sport;
	if (!self_fixed(plan->outside, plan->statics, quote.protocol, &address, &port)) {
		outer.address = address;
		outer.port = port;
		outer.protocol = quote.protocol;
		found = self_origin(&outer);
		if (!found)
			return nf_drop(pkt, NF_REASON_UNSOLICITED);
		address = found->address;
		port = found->port;
	}
	self_requote(ctx, pkt, &quote, 1, address, port);
	pkt->dst[0] = address;
	pkt->edits |= NF_EDIT_DST;
	return self_count(pkt, SELF_IN);
}
