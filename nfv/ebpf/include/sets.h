/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Named sets of addresses that rules ask for. They change while rules stay: what a rule asks is
 * decided by the sets that an address is in, a bit each, and user space changes these alone.
 */
#include "matcher.h"

struct self_address {
	u32 address[4]; /* IPv4 in the first */
	u32 family;
};

struct self_member {
	u32 sets;              /* that the address is in */
	u32 timed;             /* of these, for which it has a time */
	u32 until[MATCH_SETS]; /* second of CLOCK_MONOTONIC from which it is no longer in one */
};

/* Whose bit is whose; read and written by user space (nfv/ebpf/sets.py) alone. */
struct self_set {
	u8 name[32];
	u8 digest[16]; /* of the addresses that the file has */
};

BPF_F_TABLE("hash", struct self_address, struct self_member, self_members, 1, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, struct self_set, self_sets, MATCH_SETS);

/* The sets whose time is over. */
static __always_inline u32 self_overdue(const struct self_member *member)
{
	u32 now = bpf_ktime_get_ns() / 1000000000, overdue = 0;

#pragma unroll
	for (int i = 0; i < MATCH_SETS; i++)
		overdue |= (u32)((s32)(now - member->until[i]) >= 0) << i;
	return overdue & member->timed;
}

/* The row of the sets that an address is in. */
static __always_inline u32 self_look_set(const struct nf_packet *pkt, const u32 *address, u32 table)
{
	struct self_address key = {.family = pkt->family};
	struct self_member *member;
	u32 sets = 0;

	key.address[0] = address[0];
	if (pkt->family == 6)
		__builtin_memcpy(key.address, address, sizeof(key.address));
	member = self_members.lookup(&key);
	if (member) {
		sets = member->sets;
		if (member->timed)
			sets &= ~self_overdue(member);
	}
	return *(u32 *)self_at(table + (sets & (MATCH_SET_ROWS - 1)) * 4, 4);
}

static __always_inline void self_look_sets(const struct match_head *head, struct nf_packet *pkt)
{
	if (SELF_ASKS & MATCH_SRC_SETS)
		pkt->rows.src_sets = self_look_set(pkt, pkt->src, head->src_sets);
	if (SELF_ASKS & MATCH_DST_SETS)
		pkt->rows.dst_sets = self_look_set(pkt, pkt->dst, head->dst_sets);
}
