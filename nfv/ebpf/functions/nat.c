/* SPDX-License-Identifier: GPL-2.0 */
/*
 * NAT, IPv4: what goes along the chain's path leaves with an outside address, and its answers find back
 * (RFC 4787, RFC 5382, RFC 5508). Static translations come first, then mappings; a packet without a
 * mapping makes one if it goes out, and is dropped if it comes in.
 *
 * What is to no single host (multicast, broadcast), and sources that no pool speaks of, pass as they are;
 * so does what is not IPv4.
 */
#include "nf.h"
#include "datagrams.h"
#include "mapnew.h"
#include "naterrors.h"
#include "natarp.h"
#include "mss.h"

/* A later fragment goes the way of its datagram's first (RFC 4787, section 11); so far as that was seen. */
static __always_inline int self_later(struct nf_packet *pkt, const struct self_image *plan, u32 way)
{
	u32 *address = self_noted_datagram(pkt);

	if (!address && way == NF_DIR_FORWARD && self_pool_of(plan, pkt->src[0]) < 0)
		return self_count(pkt, SELF_UNTRANSLATED);
	if (!address)
		return nf_drop(pkt, NF_REASON_FRAGMENT);
	if (way == NF_DIR_FORWARD)
		self_put_source(pkt, *address, 0);
	else
		self_put_destination(pkt, *address, 0);
	return self_count(pkt, way == NF_DIR_FORWARD ? SELF_OUT : SELF_IN);
}

#if SELF_HAS_STATICS
/* Translate the source or the destination by what the file says of it; -1 if it says nothing. */
static __always_inline int self_static(struct nf_packet *pkt, const struct self_image *plan,
				       u32 way)
{
	int out = way == NF_DIR_FORWARD;
	u32 address = out ? pkt->src[0] : pkt->dst[0];
	u16 port = self_end(pkt, out ? pkt->sport : pkt->dport);

	if (!self_fixed(out ? plan->inside : plan->outside, plan->statics, pkt->protocol, &address,
			&port))
		return -1;
	if (pkt->fragment == NF_FRAGMENT_FIRST)
		self_note_datagram(pkt, address);
	if (out)
		self_put_source(pkt, address, port);
	else
		self_put_destination(pkt, address, port);
	return self_count(pkt, out ? SELF_STATIC_OUT : SELF_STATIC_IN);
}
#endif

/* Translate the source by a mapping, which is made if there is none. */
static __always_inline int self_map_source(struct nf_packet *pkt, const struct self_image *plan)
{
	struct self_mapping *found;
	struct self_inner *inner;
	struct self_offer *offer;
	u32 index = 0;
	int pool, verdict;

	offer = self_offers.lookup(&index);
	if (!offer)
		return nf_drop(pkt, NF_REASON_NONE);
	inner = &offer->inner;
	offer->far_port = self_far_port(pkt, pkt->dport);
	self_name(inner, pkt->src[0], self_end(pkt, pkt->sport), pkt->protocol, pkt->dst[0],
		  offer->far_port);
	found = self_known(plan, inner);
	offer->outer.protocol = pkt->protocol;
	if (found) {
		offer->outer.address = found->address;
		offer->outer.port = found->port;
		self_refresh(found, pkt, &offer->outer);
	} else {
		pool = self_pool_of(plan, pkt->src[0]);
		if (pool < 0)
			return self_count(pkt, SELF_UNTRANSLATED);
		verdict = self_create(pkt, plan, pool, offer, inner);
		if (verdict != NF_NEXT)
			return verdict;
	}
	if (self_permit(&offer->outer, inner, pkt->dst[0], offer->far_port)) {
		pkt->reason = NF_REASON_TABLE_FULL;
		return NF_REJECT;
	}
	if (pkt->fragment == NF_FRAGMENT_FIRST)
		self_note_datagram(pkt, offer->outer.address);
	self_put_source(pkt, offer->outer.address, offer->outer.port);
	return self_count(pkt, SELF_OUT);
}

/* Translate the destination by a mapping that there is and that lets the sender in. */
static __always_inline int self_map_destination(struct nf_packet *pkt)
{
	struct self_outer outer = {
		.address = pkt->dst[0],
		.port = self_end(pkt, pkt->dport),
		.protocol = pkt->protocol,
	};
	struct self_origin *found = self_origin(&outer);

	if (!found || (pkt->protocol == IPPROTO_ICMP && self_packet_query(pkt) != 2))
		return nf_drop(pkt, NF_REASON_UNSOLICITED);
	if (!self_is_permitted(&outer, found, pkt->src[0], self_far_port(pkt, pkt->sport)))
		return nf_drop(pkt, NF_REASON_UNSOLICITED);
	self_note(found, pkt);
	if (pkt->fragment == NF_FRAGMENT_FIRST)
		self_note_datagram(pkt, found->address);
	self_put_destination(pkt, found->address, found->port);
	return self_count(pkt, SELF_IN);
}

/* Whether a packet is to one host, and from one. */
static __always_inline int self_is_unicast(const struct nf_packet *pkt)
{
	return bpf_ntohl(pkt->dst[0]) < 0xe0000000 && pkt->src[0];
}

/* A header cut short, by its sender or by fragmentation, hides its ports (RFC 1858). */
static __always_inline int self_is_cut(const struct nf_packet *pkt)
{
	return !pkt->has_l4 && pkt->fragment != NF_FRAGMENT_LATER &&
	       (pkt->protocol == IPPROTO_ICMP || self_has_ports(pkt->protocol));
}

/* Translate the source; SELF_UNTRANSLATED is counted where nothing speaks of it. */
static __always_inline int self_out(nf_ctx *ctx, struct nf_packet *pkt,
				    const struct self_image *plan)
{
	if (self_is_error(pkt))
		return self_error_out(ctx, pkt, plan);
#if SELF_HAS_STATICS
	int fixed = self_static(pkt, plan, NF_DIR_FORWARD);

	if (fixed >= 0)
		return fixed;
#endif
	if (pkt->fragment == NF_FRAGMENT_LATER)
		return self_later(pkt, plan, NF_DIR_FORWARD);
	return self_map_source(pkt, plan);
}

/* Translate a destination that is an outside address. */
static __always_inline int self_in(nf_ctx *ctx, struct nf_packet *pkt,
				   const struct self_image *plan)
{
	if (self_is_error(pkt))
		return self_error_in(ctx, pkt, plan);
#if SELF_HAS_STATICS
	int fixed = self_static(pkt, plan, NF_DIR_REVERSE);

	if (fixed >= 0)
		return fixed;
#endif
	if (pkt->fragment == NF_FRAGMENT_LATER)
		return self_later(pkt, plan, NF_DIR_REVERSE);
	return self_map_destination(pkt);
}

/* Whether nobody is told that a packet cannot come in: it goes to who has the masquerade address. */
static __always_inline int self_is_passed(const struct nf_packet *pkt,
					  const struct self_image *plan)
{
	return pkt->reason == NF_REASON_UNSOLICITED && plan->flags & SELF_PASS &&
	       bpf_ntohl(pkt->dst[0]) == self_here()->masquerade;
}

/* From inside to an outside address, and so to the inside again: back the way it came. */
static __always_inline int self_hairpin(nf_ctx *ctx, struct nf_packet *pkt,
					const struct self_image *plan)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));
	int verdict = self_in(ctx, pkt, plan);

	if (verdict != NF_NEXT)
		return verdict;
	if (!eth)
		return nf_drop(pkt, NF_REASON_MALFORMED);
	if (pkt->edits & NF_EDIT_HOP)
		self_turn((u16 *)pkt->macs);
	else
		self_turn((u16 *)eth);
	return nf_answer(pkt, NF_REASON_HAIRPIN);
}

/* Translate a packet; `way` is the direction along the chain (enum nf_direction): forward is out. */
static __always_inline int self_translate(nf_ctx *ctx, struct nf_packet *pkt,
					  const struct self_image *plan, u32 way)
{
	int verdict;

	if (way == NF_DIR_FORWARD) {
		verdict = self_out(ctx, pkt, plan);
		if (verdict != NF_NEXT || !self_is_outside(plan, pkt->dst[0]))
			return verdict;
		return self_hairpin(ctx, pkt, plan);
	}
	if (!self_is_outside(plan, pkt->dst[0]))
		return self_count(pkt, SELF_UNTRANSLATED);
	verdict = self_in(ctx, pkt, plan);
	if (verdict == NF_DROP && self_is_passed(pkt, plan))
		return self_count(pkt, SELF_UNTRANSLATED);
	return verdict;
}

static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	const struct self_image *plan = self_plan();
	int verdict;

	if (pkt->ethertype == ETH_P_ARP)
		return self_arp(ctx, pkt, plan, way);
	if (pkt->family != 4 || !self_is_unicast(pkt))
		return self_count(pkt, SELF_UNTRANSLATED);
	if (self_is_cut(pkt))
		return nf_drop(pkt, NF_REASON_MALFORMED);
	verdict = self_translate(ctx, pkt, plan, way);
#if SELF_HAS_MSS
	if (verdict == NF_NEXT)
		self_clamp(ctx, pkt, plan->mss);
#endif
	return verdict;
}
