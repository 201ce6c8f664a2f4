/* SPDX-License-Identifier: GPL-2.0 */
/* TCP's maximum segment size (RFC 9293, section 3.7.1), made smaller where a way has a smaller MTU. */
#include "natplan.h"

#define SELF_OPTION_END 0
#define SELF_OPTION_NOP 1
#define SELF_OPTION_MSS 2
#define SELF_OPTION_BYTES 40 /* at most, in one header */

/* Find the option in a SYN: its offset in the frame, or 0. */
static __always_inline u32 self_find_mss(nf_ctx *ctx, const struct nf_packet *pkt,
					 struct self_search *search)
{
	const struct tcphdr *tcp = nf_at(ctx, pkt->l4_offset, sizeof(*tcp));
	u32 end;

	if (!tcp)
		return 0;
	end = pkt->l4_offset + tcp->doff * 4;
	search->at = pkt->l4_offset + sizeof(*tcp);
#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_OPTION_BYTES; i++) {
		const u8 *option = nf_at(ctx, search->at, 4);

		if (!option || search->at + 4 > end || option[0] == SELF_OPTION_END)
			return 0;
		if (option[0] == SELF_OPTION_MSS)
			return option[1] == 4 ? search->at : 0;
		if (option[0] != SELF_OPTION_NOP && option[1] < 2)
			return 0;
		search->at += option[0] == SELF_OPTION_NOP ? 1 : option[1];
	}
	return 0;
}

/* Let neither end of a connection send larger segments. Pointers into the frame are void then. */
static __always_inline void self_clamp(nf_ctx *ctx, const struct nf_packet *pkt, u32 most)
{
	u32 index = 0, at, before, after;
	struct self_search *search = self_searches.lookup(&index);
	u8 *option;

	if (pkt->protocol != IPPROTO_TCP || !pkt->has_l4 || !(pkt->tcp_flags & 2) || !search)
		return;
	at = self_find_mss(ctx, pkt, search);
	option = at ? nf_at(ctx, at, 4) : 0;
	if (!option || (option[2] << 8 | option[3]) <= most)
		return;
	before = *(u16 *)(option + 2);
	after = bpf_htons(most);
	*(u16 *)(option + 2) = after;
	/* At an odd place its bytes are in two words, each in the other's half. */
	if ((at - pkt->l4_offset) & 1) {
		before = bpf_htons(before);
		after = bpf_htons(after);
	}
	hook_checksum(ctx, (pkt->l4_offset + 16) & NF_OFFSET_MASK, 0, 0,
		      checksum_change(before, after));
}
