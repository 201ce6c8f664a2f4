/* SPDX-License-Identifier: GPL-2.0 */
/* All rules that match a packet, one after the other in the order of the list. */
#include "matcher.h"

/* What all rows share; what was taken is no longer there. */
struct self_matched {
#if SELF_WORDS <= MATCH_PLAIN
	u64 words[SELF_WORDS];
#else
	u64 groups;     /* which have words below */
	u32 firsts[64]; /* rule of each group, or MATCH_NONE */
	u64 words[64 * MATCH_GROUP];
#endif
};

BPF_TABLE("percpu_array", u32, struct self_matched, self_matched, 1);

#if SELF_WORDS <= MATCH_PLAIN

static __always_inline void self_gather(const struct match_head *head, struct nf_rows *rows,
					struct self_matched *matched)
{
#pragma unroll
	for (u64 i = 0; i < SELF_WORDS; i++)
		matched->words[i] = self_shared(rows, i);
}

/* Take the first rule, or MATCH_NONE if none is left. */
static __always_inline u32 self_take(const struct match_head *head, struct self_matched *matched)
{
#pragma clang loop unroll(disable)
	for (u64 i = 0; i < SELF_WORDS; i++) {
		u64 bits = matched->words[i];

		if (!bits)
			continue;
		matched->words[i] = bits & (bits - 1);
		return self_place(head, i, bits);
	}
	return MATCH_NONE;
}

#else

#define SELF_GROUPS (SELF_WORDS / MATCH_GROUP)

/* The first rule of a group, or MATCH_NONE; with `taken` it is taken before. */
static __always_inline void self_settle_group(const struct match_head *head,
					      struct self_matched *matched, u64 group, int taken)
{
	u64 *words = matched->words + group * MATCH_GROUP;
	u32 first = MATCH_NONE;

#pragma unroll
	for (u64 i = 0; i < MATCH_GROUP; i++) {
		u64 bits = words[i];

		if (!bits)
			continue;
		if (taken) {
			bits &= bits - 1;
			words[i] = bits;
			taken = 0;
		}
		if (bits) {
			first = self_place(head, group * MATCH_GROUP + i, bits);
			break;
		}
	}
	matched->firsts[group] = first;
}

/* The words of a group that all rows share. */
static __always_inline void self_gather_group(const struct match_head *head, struct nf_rows *rows,
					      struct self_matched *matched, u64 group)
{
	u64 *src = self_group(rows->src, group), *dst = self_group(rows->dst, group);
	u64 *kind = self_group(rows->kind, group);
	u64 *sport = self_group(rows->sport, group), *dport = self_group(rows->dport, group);

#pragma unroll
	for (u64 i = 0; i < MATCH_GROUP; i++)
		matched->words[group * MATCH_GROUP + i] = src[i] & dst[i] & kind[i] & sport[i] &
							  dport[i] & SELF_FURTHER(SELF_WORD, rows);
	self_settle_group(head, matched, group, 0);
}

static __always_inline void self_gather(const struct match_head *head, struct nf_rows *rows,
					struct self_matched *matched)
{
	u64 groups = self_shared_groups(rows);

	matched->groups = groups;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_GROUPS && groups; i++) {
		self_gather_group(head, rows, matched, self_entry(groups));
		groups &= groups - 1;
	}
}

/* Without a branch on what was found, which the verifier would follow both ways in each round. */
static __always_inline u32 self_take(const struct match_head *head, struct self_matched *matched)
{
	u64 groups = matched->groups, which = 0, first = MATCH_NONE;

#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_GROUPS && groups; i++) {
		u64 group = self_entry(groups), found = matched->firsts[group];
		u64 less = (s64)(found - first) >> 63;

		NF_OPAQUE(less);
		first ^= (first ^ found) & less;
		which ^= (which ^ group) & less;
		groups &= groups - 1;
	}
	if (first != MATCH_NONE)
		self_settle_group(head, matched, which & 63, 1);
	return first;
}

#endif
