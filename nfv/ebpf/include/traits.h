/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rules may ask of a packet besides addresses, ports, protocol and flags: MAC addresses, length,
 * DSCP (RFC 2474), place in the datagram. Compiled where a rule asks for one of them, and read anew
 * from the frame for each packet that rules see.
 */
#include "matcher.h"

/* The row of a MAC address. */
static __always_inline u64 self_mac(struct nf_rows *rows, u64 slot, const u8 *mac)
{
	rows->mac[1] = 0;
	rows->mac[2] = 0;
	rows->mac[3] = 0;
	__builtin_memcpy(rows->mac, mac, ETH_ALEN);
	return self_ipv6(slot, rows->mac);
}

/* Those that the frame would have if it left here: a router on the way has given it others. */
static __always_inline void self_look_macs(nf_ctx *ctx, const struct match_head *head,
					   struct nf_packet *pkt)
{
	const u8 *macs = pkt->macs, *frame = nf_at(ctx, 0, 2 * ETH_ALEN);

	if (!(pkt->edits & NF_EDIT_HOP) && frame)
		__builtin_memcpy(pkt->macs, frame, sizeof(pkt->macs));
	pkt->rows.dst_mac = self_mac(&pkt->rows, head->dst_mac, macs);
	pkt->rows.src_mac = self_mac(&pkt->rows, head->src_mac, macs + ETH_ALEN);
}

/* Of many segments, the largest one's. */
static __always_inline void self_look_length(const struct match_head *head, struct nf_packet *pkt)
{
	u32 length = nf_largest(pkt);
	u16 key = bpf_htons(length > 0xffff ? 0xffff : length);

	pkt->rows.length = self_port(head->length, &key);
}

static __always_inline u32 self_dscp(nf_ctx *ctx, const struct nf_packet *pkt)
{
	u16 *first = nf_l3(ctx, sizeof(*first));

	if (!first)
		return 0;
	return bpf_ntohs(*first) >> (pkt->family == 4 ? 2 : 6) & 0x3f;
}

/* Find the rows of what rules ask for, before self_match. */
static __always_inline void self_look(nf_ctx *ctx, const struct match_head *head,
				      struct nf_packet *pkt)
{
	if (SELF_ASKS & MATCH_MACS)
		self_look_macs(ctx, head, pkt);
	if (SELF_ASKS & MATCH_LENGTH)
		self_look_length(head, pkt);
	if (SELF_ASKS & MATCH_TRAITS) {
		u32 trait = MATCH_TRAIT(self_dscp(ctx, pkt), pkt->fragment) & 0xff;

		pkt->rows.traits = *(u32 *)self_at(head->traits + trait * 4, 4);
	}
}
