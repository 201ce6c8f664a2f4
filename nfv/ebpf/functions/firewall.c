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
#include "tcpflags.h"

/* Stateless: every packet is matched against the rules, none is remembered. */
#ifndef SELF_STATELESS
#define SELF_STATELESS 0
#endif

/* What rules do besides deciding, if any does: extras.h; and of that, what is in use. */
#ifndef SELF_EXTRAS
#define SELF_EXTRAS 0
#define SELF_SOURCES 0
#define SELF_LOGS 0
#define SELF_MARKS 0
#endif

#define SELF_FLEETING 1     /* all packets */
#define SELF_TCP_FLEETING 2 /* those of TCP */

/* Whether TCP connections may be met in the middle; otherwise a SYN begins them. */
#ifndef SELF_PICKUP
#define SELF_PICKUP 1
#endif

/* Whether TCP segments have to be in the windows of their connection. */
#ifndef SELF_STRICT
#define SELF_STRICT 0
#endif

enum self_action {
	SELF_ACCEPT = 0,
	SELF_DROP = 1,
	SELF_REJECT = 2,
	SELF_GO_ON = 3, /* count, and look for the next rule */
};

/* Stands beside the matcher for each rule. */
struct self_rule {
	u8 action;    /* enum self_action */
	u8 extra;     /* there is a struct self_extra */
	u16 fleeting; /* SELF_FLEETING: packets of a flow may match other rules, each has to come by */
	u32 counter; /* place in self_counters, kept when the rule moves */
};

BPF_TABLE("percpu_array", u32, struct nf_counter, self_counters, 1);

static __always_inline void self_mark(struct nf_packet *pkt, u32 counter);

/* Count a packet for a rule, and mark it as the rule says. */
static __always_inline void self_count(u32 counter, struct nf_packet *pkt)
{
	struct nf_counter *found = self_counters.lookup(&counter);

	if (found)
		nf_count(found, pkt);
	self_mark(pkt, counter);
}

/* What is kept for a rule: place 0 is the default, the rules follow in order. */
static __always_inline struct self_rule *self_rule_at(const struct match_head *head, u32 place)
{
	return self_at(head->beside + place * sizeof(struct self_rule), 8);
}

#if SELF_EXTRAS
#include "extras.h"
#endif

#if SELF_ASKS & (MATCH_SRC_SETS | MATCH_DST_SETS)
#include "sets.h"
#else
#define self_look_sets(head, pkt) ((void)(head))
#endif

static __always_inline void self_mark(struct nf_packet *pkt, u32 counter)
{
#if SELF_MARKS
	struct self_extra *extra = self_extras.lookup(&counter);

	if (extra && extra->mark) {
		pkt->dscp = extra->mark & ~EXTRAS_MARK;
		pkt->edits |= NF_EDIT_DSCP;
	}
#endif
}

/* The rule that decides, or NULL if too many let the packet go on. */
static __always_inline struct self_rule *self_decide(nf_ctx *ctx, struct nf_packet *pkt,
						     u32 direction)
{
	const struct match_head *head = self_tables();

	self_look(ctx, head, pkt);
	self_look_sets(head, pkt);
	self_find_rows(head, pkt, direction);
#if SELF_EXTRAS
	return self_settle(head, pkt, direction);
#else
	return self_rule_at(head, self_first(head, &pkt->rows) + 1);
#endif
}

/* The verdict of the rules; `counter` is set to the place where the deciding rule is counted. */
static __always_inline int self_judge(nf_ctx *ctx, struct nf_packet *pkt, u32 direction,
				      u32 *counter)
{
	struct self_rule *rule = self_decide(ctx, pkt, direction);
	u32 fleeting = SELF_FLEETING | (pkt->protocol == IPPROTO_TCP ? SELF_TCP_FLEETING : 0);

	if (!rule)
		return nf_drop(pkt, NF_REASON_RULE);
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
static __always_inline int self_other(struct nf_packet *pkt)
{
	if (self_rule_at(self_tables(), 0)->action == SELF_ACCEPT)
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
		return self_other(pkt);
	if (discovery_is(pkt))
		return NF_NEXT;
#if SELF_STATELESS
	u32 counter;

	return self_judge(ctx, pkt, way, &counter);
#else
	return self_track(ctx, pkt, way);
#endif
}
