/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Firewall: ordered rules, and connections that the first packet's rule has admitted.
 *
 * ARP and the ICMPv6 messages of neighbour discovery always pass, as no host can be reached without
 * them (RFC 4890, section 4.4.1).
 */
#include "nf.h"
#include "discovery.h"
#include "matcher.h"
#include "traits.h"
#include "quoted.h"

/* Stateless: every packet is matched against the rules, none is remembered. */
#ifndef SELF_STATELESS
#define SELF_STATELESS 0
#endif

#define SELF_FLEETING 1     /* all packets */
#define SELF_TCP_FLEETING 2 /* those of TCP */

enum self_action {
	SELF_ACCEPT = 0,
	SELF_DROP = 1,
	SELF_REJECT = 2,
};

/* Stands beside the matcher for each rule. */
struct self_rule {
	u16 action; /* enum self_action */
	u16 fleeting; /* SELF_FLEETING: packets of a flow may match other rules, each has to come by */
	u32 counter; /* place in self_counters, kept when the rule moves */
};

BPF_TABLE("percpu_array", u32, struct nf_counter, self_counters, 1);

static __always_inline void self_count(u32 counter, const struct nf_packet *pkt)
{
	struct nf_counter *found = self_counters.lookup(&counter);

	if (found)
		nf_count(found, pkt);
}

/* The rule that decides: place 0 is the default, the rules follow in order. */
static __always_inline struct self_rule *self_decide(nf_ctx *ctx, struct nf_packet *pkt,
						     u32 direction)
{
	const struct match_head *head = self_tables();
	u32 place = 0;

	if (pkt->family) {
		self_look(ctx, head, pkt);
		place = self_match(head, pkt, direction) + 1;
	}
	return self_at(head->beside + place * sizeof(struct self_rule), 8);
}

/* The verdict of the rules; `counter` is set to the place where the deciding rule is counted. */
static __always_inline int self_judge(nf_ctx *ctx, struct nf_packet *pkt, u32 direction,
				      u32 *counter)
{
	struct self_rule *rule = self_decide(ctx, pkt, direction);
	u32 fleeting = SELF_FLEETING | (pkt->protocol == IPPROTO_TCP ? SELF_TCP_FLEETING : 0);

	*counter = rule->counter;
	pkt->counter = rule->counter;
	pkt->fleeting |= (rule->fleeting & fleeting) != 0;
	self_count(rule->counter, pkt);
	if (rule->action == SELF_ACCEPT)
		return NF_NEXT;
	pkt->reason = rule->action == SELF_REJECT ? NF_REASON_REJECTED : NF_REASON_RULE;
	return rule->action == SELF_REJECT ? NF_REJECT : NF_DROP;
}

/* Frames that are neither IP nor ARP: no rule but the default speaks of them. */
static __always_inline int self_other(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct self_rule *rule = self_decide(ctx, pkt, 0);

	if (rule->action == SELF_ACCEPT)
		return NF_NEXT;
	return nf_drop(pkt, NF_REASON_ETHERTYPE);
}

#if !SELF_STATELESS
#include "connections.h"
#endif

/* `way` is the direction along the chain (enum nf_direction). */
static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	if (pkt->ethertype == ETH_P_ARP)
		return NF_NEXT;
	if (!pkt->family)
		return self_other(ctx, pkt);
	if (discovery_is(pkt))
		return NF_NEXT;
#if SELF_STATELESS
	u32 counter;

	return self_judge(ctx, pkt, way, &counter);
#else
	return self_track(ctx, pkt, way);
#endif
}
