/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rules do besides deciding: a limit above which a packet goes on to the next rule, a line in the
 * log, a mark, a count. Compiled where a rule does one of these.
 */
#include "matches.h"

#define EXTRAS_STEPS 16 /* rules that a packet may go on from */
#define EXTRAS_MARK 0x80
#define EXTRAS_FRACTION 16 /* bits of a jiffy */

/* Of a rule, by the place of its counter. */
struct self_extra {
	u64 cost;      /* of a packet: jiffies << EXTRAS_FRACTION; 0: no limit */
	u64 tolerance; /* how far `due` may be ahead when a packet comes */
	u64 due;       /* when the next packet is due: GCRA, ITU-T I.371, annex A */
	u32 sample;    /* one packet in so many is logged; 0: none */
	u8 by_source;  /* each source address has a `due` of its own */
	u8 mark;       /* EXTRAS_MARK and the DSCP of packets that the rule admits; 0: as it is */
	u16 reserved;
};

BPF_F_TABLE("array", u32, struct self_extra, self_extras, 1, BPF_F_MMAPABLE);

#if SELF_SOURCES
struct self_source {
	u32 src[4];
	u32 counter;
};

BPF_TABLE("lru_hash", struct self_source, u64, self_sources, 1);
#endif

/*
 * Whether a packet comes no earlier than its rule allows. CPUs do not wait for each other: what two of
 * them see at one moment may both pass.
 */
static __always_inline int self_due(const struct self_extra *extra, u64 *due, u64 frames)
{
	u64 now = bpf_jiffies64() << EXTRAS_FRACTION, at = *due, cost = extra->cost * frames;

	if (at < now) {
		*due = now + cost;
		return 1;
	}
	if (at + cost - now > extra->tolerance)
		return 0;
	__sync_fetch_and_add(due, cost);
	return 1;
}

static __always_inline int self_allows(struct self_extra *extra, const struct nf_packet *pkt,
				       u32 counter)
{
	u64 frames = HOOK_WHOLE ? 1 : pkt->wire.frames;
#if SELF_SOURCES
	struct self_source key = {.counter = counter};
	u64 begin = 0, *due;

	if (!extra->by_source)
		return self_due(extra, &extra->due, frames);
	key.src[0] = pkt->src[0];
	if (pkt->family == 6)
		__builtin_memcpy(key.src, pkt->src, sizeof(key.src));
	due = self_sources.lookup(&key);
	if (due)
		return self_due(extra, due, frames);
	self_due(extra, &begin, frames);
	self_sources.update(&key, &begin);
	return 1;
#else
	return self_due(extra, &extra->due, frames);
#endif
}

#if SELF_LOGS
/* A line of the log, as nfv/ebpf/logged.py reads it. */
struct self_logged {
	u32 src[4]; /* as in struct nf_packet */
	u32 dst[4];
	u32 counter;
	u32 sample;
	u32 length; /* of the packet */
	u16 sport;
	u16 dport;
	u8 family;
	u8 protocol;
	u8 tcp_flags;
	u8 fragment;
	u8 has_l4;
	u8 direction;
	u8 action; /* enum self_action */
	u8 reserved;
};

BPF_RINGBUF_OUTPUT(self_log, 1);

/* What has no room is not logged: the packet does not wait. */
static __always_inline void self_note(const struct self_extra *extra, const struct nf_packet *pkt,
				      const struct self_rule *rule, u32 direction)
{
	struct self_logged line = {
		.counter = rule->counter,
		.sample = extra->sample,
		.length = nf_largest(pkt),
		.sport = pkt->sport,
		.dport = pkt->dport,
		.family = pkt->family,
		.protocol = pkt->protocol,
		.tcp_flags = pkt->tcp_flags,
		.fragment = pkt->fragment,
		.has_l4 = pkt->has_l4,
		.direction = direction,
		.action = rule->action,
	};

	if (!extra->sample || bpf_get_prandom_u32() % extra->sample)
		return;
	line.src[0] = pkt->src[0];
	line.dst[0] = pkt->dst[0];
	if (pkt->family == 6) {
		__builtin_memcpy(line.src, pkt->src, sizeof(line.src));
		__builtin_memcpy(line.dst, pkt->dst, sizeof(line.dst));
	}
	self_log.ringbuf_output(&line, sizeof(line), 0);
}
#else
#define self_note(extra, pkt, rule, direction) ((void)(direction))
#endif

/* Do what a rule does besides; whether it decides. The next packet must come by as well. */
static __always_inline int self_decides(struct nf_packet *pkt, const struct self_rule *rule,
					u32 direction)
{
	u32 counter = rule->counter;
	struct self_extra *extra = self_extras.lookup(&counter);

	if (!extra)
		return 1;
	pkt->fleeting = 1;
	if (extra->cost && !self_allows(extra, pkt, counter))
		return 0;
	self_note(extra, pkt, rule, direction);
	if (rule->action != SELF_GO_ON)
		return 1;
	self_count(counter, pkt);
	return 0;
}

/* The rule that decides, or NULL if too many let the packet go on. */
static __always_inline struct self_rule *self_settle(const struct match_head *head,
						     struct nf_packet *pkt, u32 direction)
{
	u32 index = 0;
	struct self_matched *matched = self_matched.lookup(&index);

	if (!matched)
		return 0;
	self_gather(head, &pkt->rows, matched);
#pragma clang loop unroll(disable)
	for (int i = 0; i <= EXTRAS_STEPS; i++) {
		struct self_rule *rule = self_rule_at(head, self_take(head, matched) + 1);

		if (!rule->extra || self_decides(pkt, rule, direction))
			return rule;
	}
	return 0;
}
