/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ordered rules: the first one that matches. Each field of a packet leads to a row of bits, the rules
 * that its value can match; what all rows share are the rules that match the packet. User space
 * builds the tables (nfv/ebpf/matcher.py says how) as an image in the one map that there is, twice
 * over: the image whose head the map's first word names is read, the other is free to be written, and
 * naming it is the moment a change takes effect. Places are bytes from the start of the map.
 */
#include "nf.h"

/* The size class of the rules: 64 rules a word. */
#ifndef SELF_WORDS
#define SELF_WORDS 1
#endif
#define SELF_AGGREGATES ((SELF_WORDS + 63) / 64)
#define SELF_CHUNKS ((SELF_WORDS + 15) / 16)

/* What is read begins in the first so many bytes of the map, a power of two. */
#ifndef SELF_TABLE
#define SELF_TABLE 65536
#endif

#define MATCH_SELECT 1u           /* of a slot: 256 slots follow, by the next byte */
#define MATCH_NODE 0x80000000u    /* of a slot: a struct match_node follows */
#define MATCH_NODE_SIZE 64        /* and alignment */
#define MATCH_STEPS 33            /* of the longest lookup of an IPv6 address */
#define MATCH_TABLES 3            /* by protocol without ports, by protocol, by TCP flags */
#define MATCH_NONE 0xffffffffu    /* plus 1 is 0: the place of what decides when no rule does */

/* Times a power of two, the highest 6 bits number all powers of two. */
#define MATCH_DE_BRUIJN 0x03f79d71b4cb0a89ull

/* In front of an image. */
struct match_head {
	u32 src4; /* slots where lookups start */
	u32 dst4;
	u32 src6;
	u32 dst6;
	u32 sport;
	u32 dport;
	u32 kinds;  /* rows by direction and family, MATCH_TABLES of 256 each */
	u32 places; /* of the bits of each word, by entry */
};

/* A prefix that keys are compared with, where they go if it is another's, and where if it is theirs. */
struct match_node {
	u64 key[2];
	u64 mask[2];
	u32 other;
	u32 slots[256]; /* only one without MATCH_SELECT */
};

/* The rules of one value of a field; with one word only, that word is the row. */
struct self_row {
	u64 aggregates[SELF_AGGREGATES]; /* which words are not 0, by entry */
	u32 chunks[SELF_CHUNKS];         /* places of 16 words each */
};

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

static __always_inline u64 self_ipv6(u64 slot, const u32 *address)
{
	const u8 *bytes = (const u8 *)address;
	u64 high = *(u64 *)address, low = *(u64 *)(address + 2);

#pragma clang loop unroll(disable)
	for (int i = 0; i < MATCH_STEPS && slot & MATCH_NODE; i++) {
		struct match_node *node = self_at(slot, MATCH_NODE_SIZE);

		if (((high ^ node->key[0]) & node->mask[0]) | ((low ^ node->key[1]) & node->mask[1]))
			slot = node->other;
		else
			slot = node->slots[bytes[slot >> 1 & 15] & -(slot & MATCH_SELECT)];
	}
	return slot;
}

/* The row of direction, family, protocol and TCP flags; no branch, as packets differ in them. */
static __always_inline u64 self_kind(u64 kinds, const struct nf_packet *pkt, u64 direction)
{
	u64 differs = (pkt->protocol ^ IPPROTO_TCP) | (pkt->has_l4 ^ 1);
	u64 tcp, table, slot, *row;

	asm volatile("" : "+r"(differs));
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

#if SELF_WORDS == 1

static __always_inline u64 self_bits(u64 row)
{
	return *(u64 *)self_at(row, 8);
}

static __always_inline u32 self_first(const struct match_head *head, const struct nf_rows *rows)
{
	u64 bits = self_bits(rows->src) & self_bits(rows->dst) & self_bits(rows->kind) &
		   self_bits(rows->sport) & self_bits(rows->dport);

	return bits ? self_place(head, 0, bits) : MATCH_NONE;
}

#else

static __always_inline u64 self_aggregate(u64 place, u64 i)
{
	struct self_row *row = self_at(place, 8);

	return row->aggregates[i];
}

static __always_inline u64 self_bits(u64 place, u64 word)
{
	struct self_row *row = self_at(place, 8);
	u64 *chunk = self_at(row->chunks[word >> 4], 64);

	return chunk[word & 15];
}

/* The first rule of a word that all rows share, or MATCH_NONE. */
static __always_inline u64 self_of_word(const struct match_head *head, const struct nf_rows *rows,
					u64 word)
{
	u64 bits = self_bits(rows->src, word) & self_bits(rows->dst, word) &
		   self_bits(rows->kind, word) & self_bits(rows->sport, word) &
		   self_bits(rows->dport, word);

	u64 none = -bits;

	asm volatile("" : "+r"(none)); /* no branch */
	none = ((bits | none) >> 63) - 1;
	return self_place(head, word, bits) | (none & MATCH_NONE);
}

static __always_inline u32 self_first(const struct match_head *head, struct nf_rows *rows)
{
	rows->first = MATCH_NONE;
#pragma unroll
	for (u64 i = 0; i < SELF_AGGREGATES; i++) {
		u64 words = self_aggregate(rows->src, i) & self_aggregate(rows->dst, i) &
			    self_aggregate(rows->kind, i) & self_aggregate(rows->sport, i) &
			    self_aggregate(rows->dport, i);

#pragma clang loop unroll(disable)
		for (int j = 0; j < 64 && words; j++) {
			u64 less = self_of_word(head, rows, i * 64 + self_entry(words)) - rows->first;

			words &= words - 1;
			asm volatile("" : "+r"(less));
			rows->first += less & -(less >> 63);
		}
	}
	return rows->first;
}

#endif

/* The first matching rule's number, or MATCH_NONE. */
static __always_inline u32 self_match(struct nf_packet *pkt, u32 direction)
{
	struct match_head *head = self_at(*(u32 *)self_at(0, 4), 64);
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
	return self_first(head, rows);
}
