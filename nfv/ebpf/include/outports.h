/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which outside endpoint an inside one gets. A table of bits says which ports are likely to be taken: it
 * is written without locks and may be wrong, since what decides is the table of mappings, where an entry
 * is made only if there is none. The agent puts the bits right, and so frees ports (nfv/ebpf/mappings.py).
 */
#include "natplan.h"

#define SELF_TRIES 65 /* ports looked at: the wish, and words of 64 bits */
#define SELF_NO_WISH 0x10000
#define SELF_CLASS_WORDS 1024 /* of the ports of an address and a kind of protocol */
#define SELF_CLASSES 4
#define SELF_E2BIG -7
#define SELF_TAKEN -17 /* EEXIST */

#ifndef SELF_HINTS /* the last word of the table; known when programs are loaded */
#define SELF_HINTS 0
#endif

BPF_F_TABLE("array", u32, u64, self_ports, NF_FLAT, BPF_F_MMAPABLE);

/* Addresses and ports in network order. The remote endpoint is 0 as far as nothing depends on it. */
struct self_inner {
	u32 address;
	u32 remote;
	u16 port; /* or the identifier of an ICMP query; 0 for protocols without */
	u16 remote_port;
	u32 protocol;
};

/* In network order. */
struct self_outer {
	u32 address;
	u16 port;
	u16 protocol;
};

/* An address of a pool and the ports to choose from. */
struct self_offer {
	u32 address; /* in host order */
	u32 number;  /* of the address, among all */
	u32 range;   /* that it is in */
	u32 reserved;
	u32 bits; /* where those of its ports begin */
	u32 first_word;
	u32 words;
	u32 start;           /* where to begin */
	u32 wish;            /* a port, or SELF_NO_WISH */
	volatile u32 port;   /* that is looked at, or SELF_NO_WISH */
	volatile s32 failed; /* why it was not to be had; 0: it was */
	u64 parity;          /* ports that are preferred */
	struct self_outer outer;
	struct self_inner inner; /* who wants it: here, as the verifier does not follow it */
	volatile u32 has_port;
	volatile u32 far_port;
};

BPF_TABLE("percpu_array", u32, struct self_offer, self_offers, 1);

/* Where the bits of the ports begin that compete with each other: those of an address and a protocol. */
static __always_inline u32 self_first_bits(u32 number, u16 protocol)
{
	u32 class = protocol == IPPROTO_TCP ? 0 : protocol == IPPROTO_UDP ? 1 : 2;

	return (number * SELF_CLASSES + class) * SELF_CLASS_WORDS;
}

/* Of 64 ports, the bits that are taken. */
static __always_inline u64 *self_taken(const struct self_offer *offer, u32 word)
{
	u64 *words = self_ports.sk_storage_get(0, 0, 0);

	return words + ((offer->bits + word) & SELF_HINTS);
}

/* How many bits are set, without a branch. */
static __always_inline u64 self_bits(u64 word)
{
	word -= word >> 1 & 0x5555555555555555ull;
	word = (word & 0x3333333333333333ull) + (word >> 2 & 0x3333333333333333ull);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return word * 0x0101010101010101ull >> 56;
}

/* One of the bits that are set, the first from `turn` on. */
static __always_inline u32 self_pick(u64 word, u32 turn)
{
	turn &= 63;
	word = word >> turn | word << (-turn & 63);
	return (self_bits((word & -word) - 1) + turn) & 63;
}

/* An address of a pool by its number in it. */
static __always_inline void self_address(const struct self_image *plan,
					 const struct self_pool *pool, u32 number,
					 struct self_offer *offer)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_RANGES; i++) {
		u32 index = (pool->first_range + i) & (SELF_RANGES - 1);
		const struct self_range *range = &plan->range[index];

		if (i >= pool->ranges)
			break;
		if (number < range->count) {
			offer->address = self_first(range) + number;
			offer->number = range->number + number;
			offer->range = index;
			break;
		}
		number -= range->count;
	}
}

/* The pool's address for an inside one: always the same (RFC 4787, REQ-2), or any. */
static __always_inline u32 self_paired(const struct self_image *plan, const struct self_pool *pool,
				       u32 inside)
{
	u32 hash = plan->flags & SELF_ARBITRARY ? bpf_get_prandom_u32() : inside * 0x9e3779b1u;

	return (u64)hash * pool->addresses >> 32;
}

/* Look at a port in a step. */
static __always_inline void self_candidate(struct self_offer *offer, u32 step)
{
	u32 word = offer->first_word + (offer->start + step) % offer->words;
	u64 free = ~*self_taken(offer, word);

	if (step < SELF_TRIES / 2)
		free &= offer->parity;
	offer->port = free ? word * 64 + self_pick(free, offer->start >> 16) : SELF_NO_WISH;
}

/* An address and the ports of a pool that an inside address may have; 0 if there are none. */
static __always_inline int self_window(const struct self_image *plan, const struct self_pool *pool,
				       u32 inside, struct self_offer *offer)
{
	u32 number = self_paired(plan, pool, inside), block;

	offer->address = 0;
	offer->first_word = pool->first_word;
	offer->words = pool->words;
	if (pool->block_words && !pool->most) {
		number = bpf_ntohl(inside) - pool->subscriber;
		block = number / pool->addresses;
		number %= pool->addresses;
		offer->first_word += block * pool->block_words;
		offer->words = pool->block_words;
	}
	self_address(plan, pool, number, offer);
	return offer->address && offer->words;
}

/* What a packet's end would like to have: its own port where that is its own address or is on offer. */
static __always_inline void self_wish(const struct self_image *plan, u32 inside, u16 port,
				      u16 protocol, struct self_offer *offer)
{
	u32 host = bpf_ntohs(port), random = bpf_get_prandom_u32();
	int is_on_offer = host / 64 - offer->first_word < offer->words;

	offer->bits = self_first_bits(offer->number, protocol);
	offer->start = random;
	offer->wish = SELF_NO_WISH;
	if (!offer->has_port || bpf_htonl(offer->address) == inside ||
	    (!(plan->flags & SELF_RANDOM) && is_on_offer))
		offer->wish = host;
	if (!offer->has_port)
		offer->words = 0;
	offer->parity = ~0ull;
	if (plan->flags & SELF_PARITY && protocol == IPPROTO_UDP)
		offer->parity = host & 1 ? 0xaaaaaaaaaaaaaaaaull : 0x5555555555555555ull;
	offer->outer.address = bpf_htonl(offer->address);
	offer->outer.protocol = protocol;
}
