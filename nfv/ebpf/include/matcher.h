/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ordered rules: the first one that matches. Each condition's value is looked up in a trie that gives
 * the row of rules it can match; the lowest bit that all rows share is the rule. User space builds the
 * tables (nfv/ebpf/matcher.py) twice over: the half that `self_matcher` names is read, the other is
 * free to be written, and naming it is the moment a change takes effect.
 */
#include "lpm.h"

#ifndef SELF_WORDS
#define SELF_WORDS 1 /* 64 rules a word */
#endif

/* Nodes in front of the tries' own; the same numbers stand in matcher.py. */
#define MATCH_PROTOCOL 0 /* four of them, by direction and family */
#define MATCH_FLAGS 4
#define MATCH_SPORT 5
#define MATCH_DPORT 6
#define MATCH_ABSENT 7 /* rows of packets that lack what a condition asks for */
#define MATCH_SRC4 8
#define MATCH_DST4 9
#define MATCH_SRC6 10
#define MATCH_DST6 11

#define MATCH_ABSENT_SPORT 0
#define MATCH_ABSENT_DPORT 1
#define MATCH_ABSENT_FLAGS 2
#define MATCH_NONE 0xffffffffu /* plus 1 is 0: the place of what decides when no rule does */

struct self_row {
	u64 word[SELF_WORDS];
};

/* Which half is read, and how long each half is; only `half` changes in the life of the maps. */
struct self_halves {
	u32 half;
	u32 nodes;
	u32 rows;
	u32 rules;
};

BPF_F_TABLE("array", u32, struct lpm_node, self_nodes, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct self_row, self_rows, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct self_halves, self_matcher, 1, BPF_F_MMAPABLE);

/* One slot of a node: a row number, or another node (LPM_CHILD). */
static __always_inline u32 self_slot(u32 base, u32 node, u8 byte)
{
	struct lpm_node *found;
	u32 index = base + node;

	found = self_nodes.lookup(&index);
	return found ? found->slot[byte] : 0;
}

/* The row number of a key, whose trie begins at `root`. */
static __always_inline u32 self_descend(u32 base, u32 root, const u8 *key, int length)
{
	u32 slot = LPM_CHILD | root;

#pragma clang loop unroll(disable)
	for (int i = 0; i < length; i++) {
		slot = self_slot(base, slot & ~LPM_CHILD, key[i]);
		if (!(slot & LPM_CHILD))
			break;
	}
	return slot;
}

/* The number of the lowest bit set; BPF has no instruction for it. */
static __always_inline u32 self_lowest(u64 bits)
{
	u32 n = 0;

	if (!(bits & 0xffffffff)) {
		n += 32;
		bits >>= 32;
	}
	if (!(bits & 0xffff)) {
		n += 16;
		bits >>= 16;
	}
	if (!(bits & 0xff)) {
		n += 8;
		bits >>= 8;
	}
	if (!(bits & 0xf)) {
		n += 4;
		bits >>= 4;
	}
	if (!(bits & 0x3)) {
		n += 2;
		bits >>= 2;
	}
	return n + !(bits & 1);
}

static __always_inline struct self_row *self_row(const struct self_halves *halves, u32 id)
{
	u32 index = halves->half * halves->rows + id;

	return self_rows.lookup(&index);
}

/* The first matching rule's number, or MATCH_NONE. */
static __always_inline u32 self_match(const struct self_halves *halves, const struct nf_packet *pkt,
				      u32 direction)
{
	struct self_row *protocol, *flags, *sport, *dport, *src, *dst;
	u32 base = halves->half * halves->nodes;
	u32 way = direction * 2;
	u32 src_row, dst_row;

	if (pkt->family == 4) {
		src_row = self_descend(base, MATCH_SRC4, (const u8 *)pkt->src, 4);
		dst_row = self_descend(base, MATCH_DST4, (const u8 *)pkt->dst, 4);
	} else {
		way++;
		src_row = self_descend(base, MATCH_SRC6, (const u8 *)pkt->src, 16);
		dst_row = self_descend(base, MATCH_DST6, (const u8 *)pkt->dst, 16);
	}
	src = self_row(halves, src_row);
	dst = self_row(halves, dst_row);
	protocol = self_row(halves, self_slot(base, MATCH_PROTOCOL + way, pkt->protocol));
	if (pkt->has_l4) {
		sport = self_row(halves, self_descend(base, MATCH_SPORT, (u8 *)&pkt->sport, 2));
		dport = self_row(halves, self_descend(base, MATCH_DPORT, (u8 *)&pkt->dport, 2));
	} else {
		sport = self_row(halves, self_slot(base, MATCH_ABSENT, MATCH_ABSENT_SPORT));
		dport = self_row(halves, self_slot(base, MATCH_ABSENT, MATCH_ABSENT_DPORT));
	}
	if (pkt->protocol == IPPROTO_TCP && pkt->has_l4)
		flags = self_row(halves, self_slot(base, MATCH_FLAGS, pkt->tcp_flags));
	else
		flags = self_row(halves, self_slot(base, MATCH_ABSENT, MATCH_ABSENT_FLAGS));
	if (!protocol || !flags || !sport || !dport || !src || !dst)
		return MATCH_NONE;
#pragma unroll
	for (int i = 0; i < SELF_WORDS; i++) {
		u64 bits = protocol->word[i] & flags->word[i] & sport->word[i] & dport->word[i] &
			   src->word[i] & dst->word[i];

		if (bits)
			return i * 64 + self_lowest(bits);
	}
	return MATCH_NONE;
}
