/* SPDX-License-Identifier: GPL-2.0 */
/* How a NAT makes a mapping for an inside endpoint that has none. */
#include "mappings.h"
#include "portblocks.h"

/* 0 if the outside endpoint on offer was free, and is the inside one's; else as the kernel says it. */
static __always_inline int self_claim(const struct self_image *plan, struct self_offer *offer,
				      const struct self_inner *inner, u32 port)
{
	struct self_origin origin = {
		.address = inner->address,
		.remote = inner->remote,
		.port = inner->port,
		.remote_port = inner->remote_port,
		.seen = bpf_jiffies64(),
	};

	offer->outer.port = bpf_htons(port);
#if SELF_HAS_STATICS
	u64 place = self_place(offer->outer.address, offer->outer.protocol, offer->outer.port);
	const struct self_static *way = self_before(plan->outside, plan->statics, place);

	if (way && place <= way->high)
		return SELF_TAKEN;
#endif
	return self_inward.insert(&offer->outer, &origin);
}

/*
 * Find an outside endpoint; NF_NEXT, or why there is none. What a step has found is in the offer, not in a
 * register, for the verifier's sake.
 */
static __always_inline int self_search_ports(struct nf_packet *pkt, const struct self_image *plan,
					     struct self_offer *offer,
					     const struct self_inner *inner)
{
	offer->failed = SELF_TAKEN;
	NF_BARRIER(pkt);
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < SELF_TRIES; i++) {
		if (i > offer->words)
			break;
		offer->port = offer->wish;
		if (i)
			self_candidate(offer, i - 1);
		if (offer->port == SELF_NO_WISH)
			continue;
		offer->failed = self_claim(plan, offer, inner, offer->port);
		*self_taken(offer, offer->port / 64) |= 1ull << (offer->port & 63);
		if (!offer->failed || offer->failed == SELF_E2BIG)
			break;
	}
	if (!offer->failed)
		return NF_NEXT;
	pkt->reason = offer->failed == SELF_E2BIG ? NF_REASON_TABLE_FULL : NF_REASON_PORTS;
	return NF_REJECT;
}

#if SELF_HAS_BLOCKS
/* The same among the blocks of an inside address, which is given another one where they are full. */
static __always_inline int self_search_blocks(struct nf_packet *pkt, const struct self_image *plan,
					      const struct self_pool *pool,
					      struct self_offer *offer,
					      const struct self_inner *inner)
{
	u32 index = 0;
	struct self_tour *tour = self_tours.lookup(&index);

	if (!tour)
		return nf_drop(pkt, NF_REASON_NONE);
	tour->holding.subscriber = inner->address;
	tour->holding.ordinal = 0;
	offer->failed = SELF_TAKEN;
	pkt->reason = NF_REASON_PORTS;
	NF_BARRIER(pkt);
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < SELF_BLOCK_TRIES; i++) {
		if (tour->holding.ordinal >= pool->most) {
			pkt->reason = NF_REASON_QUOTA;
			break;
		}
		self_block_step(plan, pool, offer, tour);
		if (offer->port == SELF_NO_WISH)
			continue;
		offer->failed = self_claim(plan, offer, inner, offer->port);
		*self_taken(offer, offer->port / 64) |= 1ull << (offer->port & 63);
		if (!offer->failed || offer->failed == SELF_E2BIG)
			break;
	}
	if (!offer->failed)
		return NF_NEXT;
	if (offer->failed == SELF_E2BIG)
		pkt->reason = NF_REASON_TABLE_FULL;
	return NF_REJECT;
}
#endif

/* An outside endpoint out of a pool; NF_NEXT, or why there is none. */
static __always_inline int self_search(struct nf_packet *pkt, const struct self_image *plan,
				       const struct self_pool *pool, struct self_offer *offer,
				       const struct self_inner *inner)
{
	if (!self_window(plan, pool, inner->address, offer)) {
		pkt->reason = NF_REASON_PORTS;
		return NF_REJECT;
	}
	self_wish(plan, inner->address, inner->port, pkt->protocol, offer);
#if SELF_HAS_BLOCKS
	if (pool->most) {
		pkt->reason = NF_REASON_PORTS;
		return offer->has_port ? self_search_blocks(pkt, plan, pool, offer, inner)
				       : NF_REJECT;
	}
#endif
	return self_search_ports(pkt, plan, offer, inner);
}

/* Remember the mapping on offer, unless another CPU was quicker: then that one's counts. */
static __always_inline int self_keep(struct nf_packet *pkt, struct self_offer *offer,
				     struct self_inner *inner)
{
	u32 now = bpf_jiffies64();
	struct self_mapping *found, fresh = {
					    .address = offer->outer.address,
					    .port = offer->outer.port,
					    .flags = self_closing(pkt->tcp_flags),
					    .seen = now,
					    .since = now,
				    };

	if (!self_outward.insert(inner, &fresh))
		return NF_NEXT;
	self_give_back(inner->address);
	self_inward.delete(&offer->outer);
	found = self_outward.lookup(inner);
	if (!found) {
		pkt->reason = NF_REASON_TABLE_FULL;
		return NF_REJECT;
	}
	offer->outer.address = found->address;
	offer->outer.port = found->port;
	return NF_NEXT;
}

/* Whether a packet may make a mapping: a reset, or ICMP that asks nothing, belongs to one or to nothing. */
static __always_inline int self_is_beginning(const struct nf_packet *pkt)
{
	if (pkt->protocol == IPPROTO_ICMP)
		return self_packet_query(pkt) == 1;
	return pkt->protocol != IPPROTO_TCP || !(pkt->tcp_flags & SELF_TCP_RST);
}

/* Give the inside endpoint of a packet an outside one, which is then on offer. */
static __always_inline int self_create(struct nf_packet *pkt, const struct self_image *plan,
				       u32 pool, struct self_offer *offer, struct self_inner *inner)
{
	int verdict;

	offer->has_port = pkt->protocol == IPPROTO_ICMP || self_has_ports(pkt->protocol);
	if (!self_is_beginning(pkt))
		return nf_drop(pkt, NF_REASON_INVALID);
	if (self_reserve(plan, inner->address)) {
		pkt->reason = NF_REASON_QUOTA;
		return NF_REJECT;
	}
	verdict = self_search(pkt, plan, &plan->pool[pool], offer, inner);
	if (verdict == NF_NEXT)
		return self_keep(pkt, offer, inner);
	self_give_back(inner->address);
	return verdict;
}
