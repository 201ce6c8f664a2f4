/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ordered rules: the first one that matches. Each field of a packet leads to a row of bits, the rules
 * that its value can match; what all rows share are the rules that match the packet. User space
 * builds the tables (nfv/ebpf/matcher.py says how) as an image in the one map that there is, twice
 * over: the image whose head the map's first word names is read, the other is free to be written, and
 * naming it is the moment a change takes effect. Places are bytes from the start of the map.
 */
#include "match.h"

/* The size class of the rules: 64 rules a word. */
#ifndef SELF_WORDS
#define SELF_WORDS 1
#endif

/* What further fields patterns ask for: MATCH_MACS and so on. */
#ifndef SELF_ASKS
#define SELF_ASKS 0
#endif

/* What is read begins in the first so many bytes of the map, a power of two, and ends a bit behind. */
#ifndef SELF_TABLE
#define SELF_TABLE 262144
#endif

#if SELF_WORDS <= MATCH_PLAIN
/* The rules that one value of a field can match, a bit each in the order of the list. */
struct self_row {
	u64 words[SELF_WORDS];
};
#else
/* The same in groups of words, of which most are 0; the order of the list holds in a group only. */
struct self_row {
	u64 groups;                           /* which are not 0 */
	u32 chunks[SELF_WORDS / MATCH_CHUNK]; /* places of MATCH_CHUNK words each */
};
#endif

BPF_F_TABLE("array", u32, u64, self_matcher, NF_FLAT, BPF_F_MMAPABLE);

/* What stands at a place, aligned to `size`. */
static __always_inline void *self_at(u64 place, u64 size)
{
	void *table = self_matcher.sk_storage_get(0, 0, 0);

	return table + (place & (SELF_TABLE - size));
}

/* One step by a byte; places without MATCH_SELECT have one slot. */
static __always_inline u64 self_step(u64 slot, u64 byte)
{
	u32 *slots = self_at(slot, 4);

	return slots[byte & -(slot & MATCH_SELECT)];
}

static __always_inline u64 self_port(u64 slot, const u16 *port)
{
	const u8 *bytes = (const u8 *)port;

	return self_step(self_step(slot, bytes[0]), bytes[1]);
}

static __always_inline u64 self_ipv4(u64 slot, const u32 *address)
{
	const u8 *bytes = (const u8 *)address;

#pragma unroll
	for (int i = 0; i < 4; i++)
		slot = self_step(slot, bytes[i]);
	return slot;
}

/* All ones if `bits` is not 0, without a branch. */
static __always_inline u64 self_any(u64 bits)
{
	u64 negative = -bits;

	NF_OPAQUE(negative);
	return -((bits | negative) >> 63);
}

static __always_inline u64 self_ipv6(u64 slot, const u32 *address)
{
	const u8 *bytes = (const u8 *)address;
	u64 high = *(u64 *)address, low = *(u64 *)(address + 2);

#pragma clang loop unroll(disable)
	for (int i = 0; i < MATCH_STEPS && slot & MATCH_NODE; i++) {
		struct match_node *node = self_at(slot, MATCH_NODE_SIZE);
		u64 outside = self_any(((high ^ node->key[0]) & node->mask[0]) |
				       ((low ^ node->key[1]) & node->mask[1]));
		u64 inside = node->slots[bytes[slot >> 1 & 15] & -(slot & MATCH_SELECT)];

		slot = inside ^ ((inside ^ node->other) & outside);
	}
	return slot;
}

/* The row of direction, family, protocol and TCP flags; no branch, as packets differ in them. */
static __always_inline u64 self_kind(u64 kinds, const struct nf_packet *pkt, u64 direction)
{
	u64 differs = (pkt->protocol ^ IPPROTO_TCP) | (pkt->has_l4 ^ 1);
	u64 tcp, table, slot;

	NF_OPAQUE(differs);
	tcp = (differs - 1) >> 63;
	table = (direction * 2 + (pkt->family >> 1 & 1)) * MATCH_TABLES + pkt->has_l4 + tcp;
	slot = pkt->protocol ^ ((pkt->protocol ^ pkt->tcp_flags) & -tcp);
	return *(u32 *)self_at(kinds + (table * 256 + (slot & 0xff)) * 4, 4);
}

/* Where the entry of the lowest bit set stands, among 64. */
static __always_inline u64 self_entry(u64 bits)
{
	return (bits & -bits) * MATCH_DE_BRUIJN >> 58;
}

/* The rule of the lowest bit set of a word. */
static __always_inline u32 self_place(const struct match_head *head, u64 word, u64 bits)
{
	return *(u32 *)self_at(head->places + (word * 64 + self_entry(bits)) * 4, 4);
}

/* What the rows of the further fields share, of which `of` tells what is wanted. */
#define SELF_FURTHER(of, rows)                                                                     \
	((SELF_ASKS & MATCH_MACS ? of((rows)->src_mac) & of((rows)->dst_mac) : ~0ull) &            \
	 (SELF_ASKS & MATCH_LENGTH ? of((rows)->length) : ~0ull) &                                 \
	 (SELF_ASKS & MATCH_TRAITS ? of((rows)->traits) : ~0ull) &                                 \
	 (SELF_ASKS & MATCH_SRC_SETS ? of((rows)->src_sets) : ~0ull) &                             \
	 (SELF_ASKS & MATCH_DST_SETS ? of((rows)->dst_sets) : ~0ull))

#if SELF_WORDS <= MATCH_PLAIN

static __always_inline u64 self_bits(u64 place, u64 word)
{
	struct self_row *row = self_at(place, 8);

	return row->words[word];
}

#define SELF_WORD(place) self_bits(place, word)

static __always_inline u64 self_shared(const struct nf_rows *rows, u64 word)
{
	return self_bits(rows->src, word) & self_bits(rows->dst, word) &
	       self_bits(rows->kind, word) & self_bits(rows->sport, word) &
	       self_bits(rows->dport, word) & SELF_FURTHER(SELF_WORD, rows);
}

static __always_inline u32 self_first(const struct match_head *head, const struct nf_rows *rows)
{
#pragma unroll
	for (u64 i = 0; i < SELF_WORDS; i++) {
		u64 bits = self_shared(rows, i);

		if (bits)
			return self_place(head, i, bits);
	}
	return MATCH_NONE;
}

#else

/* The words of a group in a row. */
static __always_inline u64 *self_group(u64 place, u64 group)
{
	struct self_row *row = self_at(place, 8);
	u64 *chunk = self_at(row->chunks[group * MATCH_GROUP / MATCH_CHUNK], 64);

	return chunk + group * MATCH_GROUP % MATCH_CHUNK;
}

#define SELF_WORD(place) self_group(place, group)[i]

/* The first rule of a group that all rows share, or MATCH_NONE. */
static __always_inline u64 self_of_group(const struct match_head *head, const struct nf_rows *rows,
					 u64 group)
{
	u64 *src = self_group(rows->src, group), *dst = self_group(rows->dst, group);
	u64 *kind = self_group(rows->kind, group);
	u64 *sport = self_group(rows->sport, group), *dport = self_group(rows->dport, group);

#pragma unroll
	for (u64 i = 0; i < MATCH_GROUP; i++) {
		u64 bits = src[i] & dst[i] & kind[i] & sport[i] & dport[i] &
			   SELF_FURTHER(SELF_WORD, rows);

		if (bits)
			return self_place(head, group * MATCH_GROUP + i, bits);
	}
	return MATCH_NONE;
}

static __always_inline u64 self_groups(u64 place)
{
	struct self_row *row = self_at(place, 8);

	return row->groups;
}

static __always_inline u64 self_shared_groups(const struct nf_rows *rows)
{
	return self_groups(rows->src) & self_groups(rows->dst) & self_groups(rows->kind) &
	       self_groups(rows->sport) & self_groups(rows->dport) &
	       SELF_FURTHER(self_groups, rows);
}

static __always_inline u32 self_first(const struct match_head *head, struct nf_rows *rows)
{
	u64 groups = self_shared_groups(rows);

	rows->first = MATCH_NONE;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_WORDS / MATCH_GROUP && groups; i++) {
		u32 found = self_of_group(head, rows, self_entry(groups));

		groups &= groups - 1;
		if (found < rows->first)
			rows->first = found;
	}
	return rows->first;
}

#endif

/* The tables as they are; all of one packet's lookups must be in the same. */
static __always_inline const struct match_head *self_tables(void)
{
	return self_at(*(u32 *)self_at(0, 4), 64);
}

/* Find the rows of a packet's fields, but for those of SELF_ASKS: traits.h. */
static __always_inline void self_find_rows(const struct match_head *head, struct nf_packet *pkt,
					   u32 direction)
{
	struct nf_rows *rows = &pkt->rows;

	if (pkt->family == 4) {
		rows->src = self_ipv4(head->src4, pkt->src);
		rows->dst = self_ipv4(head->dst4, pkt->dst);
	} else {
		rows->src = self_ipv6(head->src6, pkt->src);
		rows->dst = self_ipv6(head->dst6, pkt->dst);
	}
	rows->sport = self_port(head->sport, &pkt->sport);
	rows->dport = self_port(head->dport, &pkt->dport);
	rows->kind = self_kind(head->kinds, pkt, direction);
}

/* The first matching rule's number, or MATCH_NONE. */
static __always_inline u32 self_match(const struct match_head *head, struct nf_packet *pkt,
				      u32 direction)
{
	self_find_rows(head, pkt, direction);
	return self_first(head, &pkt->rows);
}
