/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Blocks of ports that inside addresses are given as they need them, so that whoever keeps a log has two
 * lines a block and none a connection. As with mappings there are two tables, one for each direction:
 * `blocks` says whose a block is, `holdings` what an inside address has. An entry is made only where there
 * is none, so whatever CPUs do at once no block is given twice and none has more than it may. The agent
 * ends both (nfv/ebpf/portblocks.py).
 */
#include "outports.h"

#define SELF_BLOCK_CLASS 3  /* of self_ports: which blocks of an address are likely to be taken */
#define SELF_BLOCK_WORDS 8  /* of 64 ports, in a block */
#define SELF_BLOCK_TRIES 12 /* blocks and ports looked at for one packet */

#if SELF_HAS_BLOCKS

/* A block: an outside address in network order, and which of its 64s of ports is the first. */
struct self_block {
	u32 address;
	u16 word;
	u16 words;
};

/* What an inside address holds, and in which range of its pool that was found. */
struct self_held {
	struct self_block block;
	u32 range;
};

struct self_tenant {
	u32 subscriber; /* an inside address, in network order */
	u32 ordinal;
	u32 since; /* jiffies */
	u32 is_logged;
};

struct self_holding {
	u32 subscriber;
	u32 ordinal; /* of its blocks */
};

BPF_TABLE("hash", struct self_block, struct self_tenant, self_blocks, 1);
BPF_TABLE("hash", struct self_holding, struct self_held, self_holdings, 1);

/* Where a search through the blocks of an inside address is; per CPU, beside the offer. */
struct self_tour {
	struct self_holding holding; /* of the block that is looked at */
};

BPF_TABLE("percpu_array", u32, struct self_tour, self_tours, 1);

/*
 * Of words in a row, at most SELF_BLOCK_WORDS, one with a bit that is not set; any, if there is none.
 * Without a branch, as this is in a loop, whose ways the verifier would multiply.
 */
static __always_inline u32 self_first_free(u32 first, u32 words, u32 turn)
{
	u64 *all = self_ports.sk_storage_get(0, 0, 0), place, at = turn % words, is_found = 0;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < SELF_BLOCK_WORDS; i++) {
		u64 free, negated, is_free;

		place = (turn + i) % words;
		free = ~all[(first + place) & SELF_HINTS];
		negated = -free;
		NF_OPAQUE(negated);
		is_free = (free | negated) >> 63;
		at ^= (at ^ place) & -(is_free & ~is_found);
		is_found |= is_free;
	}
	return at;
}

/* Offer a port of a block that the inside address holds; 0 if the pool no longer has that block. */
static __always_inline int self_enter(const struct self_image *plan, const struct self_pool *pool,
				      struct self_offer *offer, const struct self_held *held)
{
	const struct self_range *range = &plan->range[held->range & (SELF_RANGES - 1)];
	u32 address = bpf_ntohl(held->block.address), place = address - self_first(range), word;
	u32 words = held->block.words ? held->block.words : 1;
	u64 free;

	if (held->range - pool->first_range >= pool->ranges || place >= range->count ||
	    held->block.words != pool->block_words ||
	    held->block.word - pool->first_word >= pool->words)
		return 0;
	offer->address = address;
	offer->number = range->number + place;
	offer->range = held->range;
	offer->bits = self_first_bits(offer->number, offer->outer.protocol);
	offer->outer.address = held->block.address;
	word = held->block.word;
	word += self_first_free(offer->bits + word, words, offer->start);
	free = ~*self_taken(offer, word);
	if (free & offer->parity)
		free &= offer->parity;
	offer->port = free ? word * 64 + self_pick(free, offer->start >> 16) : SELF_NO_WISH;
	return 1;
}

/* An inside address without blocks may have one of any address beside its paired one. */
static __always_inline void self_try_beside(const struct self_image *plan, struct self_offer *offer)
{
	const struct self_range *range = &plan->range[offer->range & (SELF_RANGES - 1)];
	u32 place = offer->number - range->number + 1;

	place = place < range->count ? place : 0;
	offer->address = self_first(range) + place;
	offer->number = range->number + place;
}

/* Claim a block that is free, of the address on offer. */
static __always_inline void self_claim_block(const struct self_image *plan,
					     const struct self_pool *pool, struct self_offer *offer,
					     struct self_tour *tour)
{
	u32 size = pool->block_words ? pool->block_words : 1, blocks = pool->words / size;
	u32 words = (blocks + 63) / 64, bits, word, bit;
	struct self_tenant tenant = {
		.subscriber = tour->holding.subscriber,
		.ordinal = tour->holding.ordinal,
		.since = bpf_jiffies64(),
	};
	struct self_held held = {.block.words = size, .range = offer->range};
	u64 *taken, *all = self_ports.sk_storage_get(0, 0, 0);

	words = words ? words : 1;
	bits = (offer->number * SELF_CLASSES + SELF_BLOCK_CLASS) * SELF_CLASS_WORDS;
	if (blocks & 63)
		all[(bits + words - 1) & SELF_HINTS] |= ~0ull << (blocks & 63);
	word = self_first_free(bits, words, offer->start);
	taken = &all[(bits + word) & SELF_HINTS];
	if (!~*taken) {
		if (!tour->holding.ordinal)
			self_try_beside(plan, offer);
		return;
	}
	bit = self_pick(~*taken, offer->start >> 16);
	held.block.address = bpf_htonl(offer->address);
	held.block.word = pool->first_word + (word * 64 + bit) * size;
	*taken |= 1ull << bit;
	if (self_blocks.insert(&held.block, &tenant))
		return;
	if (self_holdings.insert(&tour->holding,
				 &held)) /* another CPU was quicker: its block counts */
		self_blocks.delete(&held.block);
}

/* A step of the search for a port: one that is likely to be free is then on offer, or SELF_NO_WISH. */
static __always_inline void self_block_step(const struct self_image *plan,
					    const struct self_pool *pool, struct self_offer *offer,
					    struct self_tour *tour)
{
	struct self_held *held = self_holdings.lookup(&tour->holding);

	offer->port = SELF_NO_WISH;
	if (!held)
		self_claim_block(plan, pool, offer, tour);
	else if (!self_enter(plan, pool, offer, held))
		self_holdings.delete(&tour->holding);
	else if (offer->port == SELF_NO_WISH)
		tour->holding.ordinal++;
}

#endif
