/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The answer to a packet that a rule rejects: a TCP reset (RFC 9293, section 3.10.7.1), or an ICMP
 * error "administratively prohibited" (RFC 1812, section 5.2.7.1; RFC 4443, section 3.1). The frame is
 * turned into its own answer, from the packet's destination to its source.
 */
#ifndef NFV_REJECT_H
#define NFV_REJECT_H

#include "nf.h"
#include "checksum.h"
#include "parse.h"

#define REJECT_TTL 64
#define REJECT_QUOTE4 548  /* RFC 1812, section 4.3.2.3: the error fits in 576 bytes */
#define REJECT_QUOTE6 1232 /* RFC 4443, section 2.4 (c): it fits in 1280 bytes */
#define REJECT_ICMP_LENGTH 8
#define REJECT_CHUNK 64
#define REJECT_TCP_CHECKSUM 16 /* where the checksum is in a header of TCP, and of UDP */
#define REJECT_UDP_CHECKSUM 6

/* Answers a CPU may send in one window of 2^REJECT_WINDOW jiffies (RFC 1812, section 4.3.2.8). */
#define REJECT_WINDOW 6
#define REJECT_BURST 64

struct reject_budget {
	u32 window;
	u32 sent;
};

BPF_TABLE("percpu_array", u32, struct reject_budget, nf_rejects, 1);

/* Whether this CPU may send another answer in this window. */
static __always_inline int reject_allowed(void)
{
	u32 window = bpf_jiffies64() >> REJECT_WINDOW;
	u32 index = 0;
	struct reject_budget *budget = nf_rejects.lookup(&index);

	if (!budget)
		return 0;
	if (budget->window != window) {
		budget->window = window;
		budget->sent = 0;
	}
	return budget->sent++ < REJECT_BURST;
}

static __always_inline int reject_multicast6(const u32 *address)
{
	return (address[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/*
 * RFC 1122, section 3.2.2, and RFC 4443, section 2.4 (e): no answer to errors and redirects, to
 * later fragments, to what went to more than one host, or to a source that is not one host. A TCP
 * header that is cut short could not be answered by the ports it came from.
 */
static __always_inline int reject_answerable(nf_ctx *ctx, const struct nf_packet *pkt)
{
	u8 type = bpf_ntohs(pkt->dport) >> 8;
	const u8 *to = nf_at(ctx, 0, sizeof(struct ethhdr));

	if (!to || to[0] & 1 || pkt->fragment == NF_FRAGMENT_LATER)
		return 0;
	if (pkt->family == 4) {
		u8 from = bpf_ntohl(pkt->src[0]) >> 24, first = bpf_ntohl(pkt->dst[0]) >> 24;

		if (!from || from == 127 || from >= 224 || first >= 224)
			return 0;
		if (pkt->protocol == IPPROTO_ICMP)
			return type == 8 || type == 13;
	} else {
		if (reject_multicast6(pkt->src) || reject_multicast6(pkt->dst) ||
		    !(pkt->src[0] | pkt->src[1] | pkt->src[2] | pkt->src[3]))
			return 0;
		if (pkt->protocol == IPPROTO_ICMPV6)
			return type >= 128 && type != 137;
	}
	return pkt->protocol != IPPROTO_TCP || (pkt->has_l4 && !(pkt->tcp_flags & 4));
}

static __always_inline void reject_swap_macs(struct ethhdr *eth)
{
	u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

static __always_inline void reject_ipv4(struct iphdr *ip, const struct nf_packet *pkt, u8 protocol,
					u16 length)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(length);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = REJECT_TTL;
	ip->protocol = protocol;
	ip->check = 0;
	ip->saddr = pkt->dst[0];
	ip->daddr = pkt->src[0];
	ip->check = checksum_fold(checksum_ipv4(ip));
}

static __always_inline void reject_ipv6(struct ipv6hdr *ip, const struct nf_packet *pkt,
					u8 protocol, u16 payload)
{
	*(u32 *)ip = bpf_htonl(0x60000000);
	ip->payload_len = bpf_htons(payload);
	ip->nexthdr = protocol;
	ip->hop_limit = REJECT_TTL;
	__builtin_memcpy(&ip->saddr, pkt->dst, 16);
	__builtin_memcpy(&ip->daddr, pkt->src, 16);
}

/* RFC 9293 and RFC 8200, section 8.1: the pseudo-header; the same sum for both directions. */
static __always_inline u32 reject_pseudo(const struct nf_packet *pkt, u8 protocol, u16 length)
{
	const u16 *src = (const u16 *)pkt->src, *dst = (const u16 *)pkt->dst;
	u32 sum = bpf_htons(protocol) + bpf_htons(length);

#pragma unroll
	for (int i = 0; i < 8; i++)
		if (i < 2 || pkt->family == 6)
			sum += src[i] + dst[i];
	return sum;
}

/* `partial`: the kernel will complete the checksum, and wants the pseudo-header's sum in its place. */
static __always_inline void reject_segment(struct tcphdr *tcp, const struct nf_packet *pkt, u32 seq,
					   u32 ack, u32 acked, int partial)
{
	u32 sum = reject_pseudo(pkt, IPPROTO_TCP, sizeof(*tcp));
	u16 *half = (u16 *)tcp;

	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = pkt->dport;
	tcp->dest = pkt->sport;
	tcp->seq = seq;
	tcp->ack_seq = ack;
	tcp->doff = 5;
	tcp->rst = 1;
	tcp->ack = !acked;
	if (partial) {
		tcp->check = ~checksum_fold(sum);
		return;
	}
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += half[i];
	tcp->check = checksum_fold(sum);
}

/* 0, or -1 if the frame could not be turned into its answer; so reject_icmp. */
static __always_inline int reject_tcp(nf_ctx *ctx, struct nf_packet *pkt)
{
	u32 segment = pkt->packet_length + sizeof(struct ethhdr) - pkt->l4_offset;
	struct tcphdr *tcp = nf_at(ctx, pkt->l4_offset, sizeof(*tcp));
	u32 header = pkt->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	u32 seq, ack, acked;
	void *data;
	int partial;

	if (!tcp)
		return -1;
	/* Of a header that contradicts its segment, no receiver could say what was sent. */
	if (tcp->doff * 4 < sizeof(*tcp) || tcp->doff * 4 > segment)
		return -1;
	acked = tcp->ack;
	seq = acked ? tcp->ack_seq : 0;
	ack = bpf_ntohl(tcp->seq) + segment - tcp->doff * 4 + tcp->syn + tcp->fin;
	ack = acked ? 0 : bpf_htonl(ack);
	header += sizeof(struct ethhdr);
	if (hook_trim(ctx, header + sizeof(*tcp)))
		return -1;
	partial = hook_is_partial(ctx, header + REJECT_TCP_CHECKSUM);
	/* The kernel will write the checksum where it is in the packet as it came. */
	if (partial && pkt->l4_offset != header)
		return -1;
	if (pkt->family == 4) {
		data = nf_at(ctx, 0, sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(*tcp));
		if (!data)
			return -1;
		reject_swap_macs(data);
		data += sizeof(struct ethhdr);
		reject_ipv4(data, pkt, IPPROTO_TCP, sizeof(struct iphdr) + sizeof(*tcp));
		reject_segment(data + sizeof(struct iphdr), pkt, seq, ack, acked, partial);
		return 0;
	}
	data = nf_at(ctx, 0, sizeof(struct ethhdr) + sizeof(struct ipv6hdr) + sizeof(*tcp));
	if (!data)
		return -1;
	reject_swap_macs(data);
	data += sizeof(struct ethhdr);
	reject_ipv6(data, pkt, IPPROTO_TCP, sizeof(*tcp));
	reject_segment(data + sizeof(struct ipv6hdr), pkt, seq, ack, acked, partial);
	return 0;
}

/* The sum from `at` to the end of the frame, which is an even number of bytes away. */
static __always_inline u32 reject_sum(void *at, void *data_end, u32 sum)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < REJECT_QUOTE6 / REJECT_CHUNK; i++) {
		if (at + REJECT_CHUNK > data_end)
			break;
		sum = bpf_csum_diff(0, 0, at, REJECT_CHUNK, sum);
		at += REJECT_CHUNK;
	}
	sum = (sum & 0xffff) + (sum >> 16);
#pragma clang loop unroll(disable)
	for (int i = 0; i < REJECT_CHUNK / 2; i++) {
		if (at + 2 > data_end)
			break;
		sum += *(u16 *)at;
		at += 2;
	}
	return sum;
}

/* `partial`: where the kernel will complete a checksum in the quoted packet, or 0. */
static __always_inline void reject_error(nf_ctx *ctx, const struct nf_packet *pkt,
					 struct icmphdr *icmp, u8 type, u8 code, u32 partial,
					 u32 sum)
{
	u32 header = pkt->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	void *quote = icmp + 1, *end = hook_end(ctx);

	icmp->type = type;
	icmp->code = code;
	icmp->checksum = 0;
	icmp->un.gateway = 0;
	sum += *(u16 *)icmp;
	if (partial) {
		u16 *pseudo = nf_at(ctx, partial + header + REJECT_ICMP_LENGTH, sizeof(*pseudo));

		/* All behind the IP header will come to the complement of what is there. */
		if (pseudo && quote + sizeof(struct ipv6hdr) <= end) {
			sum += (u16) ~*pseudo;
			sum = bpf_csum_diff(0, 0, quote, header, sum);
			sum = (sum & 0xffff) + (sum >> 16);
		}
	} else {
		sum = reject_sum(quote, end, sum);
	}
	icmp->checksum = checksum_fold(sum);
}

/* Where the kernel has yet to complete the checksum of a protocol other than TCP, or 0. */
static __always_inline u32 reject_partial(nf_ctx *ctx, const struct nf_packet *pkt)
{
	u32 at = pkt->l4_offset + REJECT_UDP_CHECKSUM;

	if (!pkt->has_l4 || (pkt->protocol != IPPROTO_UDP && pkt->protocol != IPPROTO_UDPLITE &&
			     pkt->protocol != IPPROTO_DCCP))
		return 0;
	return hook_is_partial(ctx, at) ? at : 0;
}

static __always_inline int reject_icmp(nf_ctx *ctx, struct nf_packet *pkt)
{
	u32 header = pkt->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	u32 quote = pkt->family == 4 ? REJECT_QUOTE4 : REJECT_QUOTE6;
	u32 partial, sum;
	struct ethhdr *old;
	struct ethhdr eth;
	void *data;

	if (quote > pkt->packet_length)
		quote = pkt->packet_length & ~1;
	if (hook_trim(ctx, quote + sizeof(eth)))
		return -1;
	partial = reject_partial(ctx, pkt);
	if (partial && pkt->l4_offset != sizeof(eth) + header)
		return -1;
	old = nf_at(ctx, 0, sizeof(*old));
	if (!old)
		return -1;
	eth = *old;
	reject_swap_macs(&eth);
	if (hook_insert(ctx, header + REJECT_ICMP_LENGTH))
		return -1;
	NF_BARRIER(pkt);
	if (pkt->family == 4) {
		data = nf_at(ctx, 0, sizeof(eth) + sizeof(struct iphdr) + REJECT_ICMP_LENGTH);
		if (!data)
			return -1;
		*(struct ethhdr *)data = eth;
		data += sizeof(eth);
		reject_ipv4(data, pkt, IPPROTO_ICMP,
			    sizeof(struct iphdr) + REJECT_ICMP_LENGTH + quote);
		reject_error(ctx, pkt, data + sizeof(struct iphdr), ICMP_DEST_UNREACH,
			     ICMP_PKT_FILTERED, partial, 0);
		return 0;
	}
	data = nf_at(ctx, 0, sizeof(eth) + sizeof(struct ipv6hdr) + REJECT_ICMP_LENGTH);
	if (!data)
		return -1;
	*(struct ethhdr *)data = eth;
	data += sizeof(eth);
	reject_ipv6(data, pkt, IPPROTO_ICMPV6, REJECT_ICMP_LENGTH + quote);
	sum = reject_pseudo(pkt, IPPROTO_ICMPV6, REJECT_ICMP_LENGTH + quote);
	reject_error(ctx, pkt, data + sizeof(struct ipv6hdr), ICMPV6_DEST_UNREACH,
		     ICMPV6_ADM_PROHIBITED, partial, sum);
	return 0;
}

/* Turn a rejected packet into its answer; NF_DROP if there is none. */
static __always_inline int reject_answer(nf_ctx *ctx, struct nf_packet *pkt)
{
	int failed;

	if (!reject_answerable(ctx, pkt) || !reject_allowed())
		return nf_drop(pkt, NF_REASON_REJECT_LIMIT);
	NF_BARRIER(pkt);
	failed = pkt->protocol == IPPROTO_TCP ? reject_tcp(ctx, pkt) : reject_icmp(ctx, pkt);
	if (failed)
		return nf_drop(pkt, NF_REASON_REJECT_LIMIT);
	pkt->frame_length = hook_length(ctx);
	return NF_NEXT;
}

#endif /* NFV_REJECT_H */
