/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Addresses of a function's own, at which its service is reached: ARP (RFC 826), neighbour
 * solicitations and advertisements (RFC 4861) and echo requests for them are for the service.
 */
#include "nf.h"

#define SELF_OWN 8 /* addresses of each IP version */

struct self_own {
	u32 ipv4[SELF_OWN]; /* 0 where there is none */
	u32 ipv6[4 * SELF_OWN];
};

/* RFC 826 for Ethernet and IPv4: where the addresses are, from the start of the frame. */
#define SELF_ARP_TARGET 38
#define SELF_SOLICITATION 135
#define SELF_ADVERTISEMENT 136
#define SELF_TARGET 8 /* of a solicitation, from the ICMPv6 header on */
#define SELF_ECHO4 8
#define SELF_ECHO6 128

BPF_F_TABLE("array", u32, struct self_own, self_own, 1, BPF_F_MMAPABLE);

static __always_inline int self_is_own4(u32 address)
{
	u32 index = 0;
	struct self_own *own = self_own.lookup(&index);

	if (!own || !address)
		return 0;
#pragma unroll
	for (int i = 0; i < SELF_OWN; i++)
		if (own->ipv4[i] == address)
			return 1;
	return 0;
}

static __always_inline int self_is_own6(const u32 *address)
{
	u32 index = 0;
	struct self_own *own = self_own.lookup(&index);

	if (!own || !(address[0] | address[1] | address[2] | address[3]))
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_OWN; i++) {
		const u32 *one = own->ipv6 + 4 * i;

		if (one[0] == address[0] && one[1] == address[1] && one[2] == address[2] &&
		    one[3] == address[3])
			return 1;
	}
	return 0;
}

static __always_inline int self_is_own(const struct nf_packet *pkt)
{
	return pkt->family == 4 ? self_is_own4(pkt->dst[0]) : self_is_own6(pkt->dst);
}

/* Whether a packet asks for the link-layer address behind one of the function's, or pings it. */
static __always_inline int self_is_asked(nf_ctx *ctx, const struct nf_packet *pkt)
{
	u8 type = bpf_ntohs(pkt->dport) >> 8;
	u32 *target;

	if (pkt->ethertype == ETH_P_ARP) {
		target = nf_at(ctx, SELF_ARP_TARGET, sizeof(u32));
		return target && self_is_own4(*target);
	}
	if (!pkt->has_l4 || (pkt->protocol != IPPROTO_ICMP && pkt->protocol != IPPROTO_ICMPV6))
		return 0;
	if (pkt->family == 6 && type == SELF_SOLICITATION) {
		target = nf_at(ctx, pkt->l4_offset + SELF_TARGET, 4 * sizeof(u32));
		return target && self_is_own6(target);
	}
	if (pkt->family == 4)
		return type == SELF_ECHO4 && self_is_own4(pkt->dst[0]);
	return (type == SELF_ECHO6 || type == SELF_ADVERTISEMENT) && self_is_own6(pkt->dst);
}
