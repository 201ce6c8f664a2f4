/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Actions: all that was done to a packet of a flow, to be done to the next one. Flows that differ only
 * in their addresses share an action, and it counts their packets: one increment stands for every
 * counter on the way, and user space adds it to each (nfv/dataplane/paths.py).
 */
#ifndef NFV_ACTION_H
#define NFV_ACTION_H

#include "nf.h"
#include "checksum.h"
#include "commit.h"
#include "entry.h"
#include "plain.h"

#define ACTION_PATHS 16384 /* of each CPU; a power of two */

/* What tells actions apart: where packets come in and leave, what counts them, what they become. */
struct action_path {
	u32 cpu;
	u16 port;
	u16 mtu;                     /* of the way, from the IP header on */
	u32 counted[NF_PATH_LENGTH]; /* as in struct nf_packet */
	u32 egress;
	u8 macs[2 * ETH_ALEN];
	u8 to[ETH_ALEN]; /* packets come to this MAC address */
	u8 hops;         /* routers passed; if none, the MAC addresses stay */
	u8 edits;        /* of addresses and ports (enum nf_edit) */
};

/* One cache line, of one CPU. */
struct action {
	struct nf_counter counter;
	u64 to;   /* MAC address, in the upper 6 bytes */
	u64 macs; /* the first 8 bytes of 12 */
	u32 macs_rest;
	u32 egress;
	u16 mtu;
	u8 hops;
	u8 edits;
	u8 reserved[20];
};

/* Changed by user space whenever a table changes; the lowest 13 bits are 0. */
struct action_epoch {
	u32 epoch;
	u32 reserved;
};

BPF_F_TABLE("array", u32, struct action, nf_actions, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct action_epoch, nf_epoch, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, nf_numbers, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("hash", struct action_path, u32, nf_paths, 1, BPF_F_NO_PREALLOC);

/* The epoch of the tables. */
static __always_inline u32 action_now(void)
{
	struct action_epoch *now = nf_epoch.sk_storage_get(0, 0, 0);

	return now->epoch;
}

/* An action by its place. */
static __always_inline struct action *action_at(u64 place)
{
	struct action *action = nf_actions.sk_storage_get(0, 0, 0);

	action += place & NF_LINK(ENTRY_ACTIONS);
	NF_OPAQUE(action);
	return action;
}

/* Whether a packet came to the MAC address that the last one came to: a router asks, others do not. */
static __always_inline int action_is_for(const struct action *action, const u8 *frame)
{
	return action->to == *(u64 *)frame << 16;
}

/* The MAC addresses of the next hop. */
static __always_inline void action_macs(const struct action *action, u8 *frame)
{
	*(u64 *)frame = action->macs;
	*(u32 *)(frame + 8) = action->macs_rest;
}

static __always_inline int action_send(nf_ctx *ctx, struct action *action,
				       const struct hook_wire *wire)
{
	nf_add(&action->counter, wire);
	return hook_send(ctx, action->egress);
}

/* Whether an IPv4 packet comes to the router, is sound, and has hops left. */
static __always_inline int action_routes4(const struct action *action, const struct plain4 *plain,
					  const u8 *frame)
{
	return action_is_for(action, frame) && (plain->third & 0xff) > action->hops &&
	       plain_is_sound4(plain);
}

/*
 * Take the hops from the TTL. The complement of the checksum gains `gain`, and loses the hops, which are
 * in the lower byte of its word.
 */
static __always_inline void action_header4(const struct action *action, const struct plain4 *plain,
					   u8 *frame, u64 gain)
{
	u64 hops = action->hops;
	u64 sum = (plain->third >> 16 ^ 0xffff) + checksum_change(0, 0) - hops + gain;

	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + sum;
	*(u32 *)(frame + PLAIN_IP + 8) = ((plain->third & 0xffff) - hops) | ~sum << 16;
}

/* Route an IPv6 packet and send it; -1 if it is for another station, or has no hops left. */
static __always_inline int action_route6(nf_ctx *ctx, struct action *action, u8 *frame,
					 u64 hop_limit, const struct hook_wire *wire)
{
	if (hop_limit <= action->hops || !action_is_for(action, frame))
		return -1;
	frame[PLAIN_IP + 7] = hop_limit - action->hops;
	action_macs(action, frame);
	return action_send(ctx, action, wire);
}

/* Before a walk whose outcome may be kept. */
static __always_inline void action_begin(struct nf_packet *pkt)
{
	pkt->epoch = action_now();
	pkt->hops = 0;
	pkt->mtu = 0xffff;
	pkt->fleeting = 0;
#pragma unroll
	for (int i = 0; i < NF_PATH_LENGTH; i++)
		pkt->counted[i] = 0;
}

/* The path of a packet that has walked, as it is before `commit_packet`. */
static __always_inline void action_path(struct action_path *path, const struct nf_packet *pkt,
					const u8 *frame, u32 cpu, u32 port)
{
	path->cpu = cpu;
	path->port = port;
	path->mtu = pkt->mtu;
	path->egress = pkt->egress;
	path->hops = pkt->hops;
	path->edits = pkt->edits & ~NF_EDIT_HOP;
	if (pkt->hops) {
		__builtin_memcpy(path->macs, pkt->macs, sizeof(path->macs));
		__builtin_memcpy(path->to, frame, sizeof(path->to));
	}
#pragma unroll
	for (int i = 0; i < NF_PATH_LENGTH; i++)
		path->counted[i] = pkt->counted[i];
}

/* Make an action of a path. */
static __always_inline void action_write(struct action *action, const struct action_path *path)
{
	const u16 *to = (const u16 *)path->to;
	const u32 *macs = (const u32 *)path->macs;

	action->to = (u64)to[0] << 16 | (u64)to[1] << 32 | (u64)to[2] << 48;
	action->macs = macs[0] | (u64)macs[1] << 32;
	action->macs_rest = macs[2];
	action->egress = path->egress;
	action->mtu = path->mtu;
	action->hops = path->hops;
	action->edits = path->edits;
}

/* The place of a path's action, or -1 if the CPU has room for no more. */
static __always_inline s64 action_place(const struct action_path *path)
{
	u64 *numbers = nf_numbers.sk_storage_get(0, 0, 0), *number;
	u32 *known, place;

	known = nf_paths.lookup((struct action_path *)path);
	if (known)
		return *known;
	number = numbers + (path->cpu & NF_LINK(ENTRY_CPUS));
	if (*number >= ACTION_PATHS)
		return -1;
	place = path->cpu * ACTION_PATHS + *number;
	if (nf_paths.insert((struct action_path *)path, &place))
		return -1;
	*number += 1;
	action_write(action_at(place), path);
	return place;
}

#endif /* NFV_ACTION_H */
