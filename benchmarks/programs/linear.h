/* SPDX-License-Identifier: GPL-2.0 */
/* The rules one after the other: what the matcher is measured against. */

#ifndef RULES
#define RULES 64 /* at most */
#endif

struct linear_rule {
	u64 src[2];
	u64 src_mask[2];
	u64 dst[2];
	u64 dst_mask[2];
	u16 sport[2]; /* lowest and highest, in host order */
	u16 dport[2];
	u16 protocol; /* or 256 for any */
	u8 flags;
	u8 flags_mask;
	u8 family;
	u8 unused[3];
};

BPF_F_TABLE("array", u32, struct linear_rule, linear_rules, RULES, BPF_F_MMAPABLE);

static __always_inline int linear_differs(const u32 *address, const u64 *key, const u64 *mask)
{
	const u64 *halves = (const u64 *)address;

	return ((halves[0] ^ key[0]) & mask[0]) || ((halves[1] ^ key[1]) & mask[1]);
}

static __always_inline u32 linear_match(const struct nf_packet *pkt, u32 direction)
{
	u16 sport = bpf_ntohs(pkt->sport), dport = bpf_ntohs(pkt->dport);

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < RULES; i++) {
		u32 index = i;
		struct linear_rule *rule = linear_rules.lookup(&index);

		if (!rule || !rule->family)
			break;
		if (rule->family == pkt->family &&
		    (rule->protocol == 256 || rule->protocol == pkt->protocol) &&
		    dport >= rule->dport[0] && dport <= rule->dport[1] && sport >= rule->sport[0] &&
		    sport <= rule->sport[1] && (pkt->tcp_flags & rule->flags_mask) == rule->flags &&
		    !linear_differs(pkt->src, rule->src, rule->src_mask) &&
		    !linear_differs(pkt->dst, rule->dst, rule->dst_mask))
			return i;
	}
	return MATCH_NONE;
}
