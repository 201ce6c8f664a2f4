/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VLANs of a switch's ports (IEEE 802.1Q). Inside, a frame is as it came in, with or without a tag, and
 * its VLAN is told beside it; where it leaves it gets the form that the port wants.
 */
#include "nf.h"

#define VLAN_ID 0x0fff
#define VLAN_NONE 0xffffffff
#define VLAN_WORDS 64 /* of a port's bitmap */

/* The VLANs that a port is a member of, a bit each. */
BPF_F_TABLE("array", u32, u64, self_vlans, NF_FLAT, BPF_F_MMAPABLE);

static __always_inline int self_is_member(u32 port, u32 vlan)
{
	u64 *words = self_vlans.sk_storage_get(0, 0, 0);

	return words[port * VLAN_WORDS + (vlan >> 6 & (VLAN_WORDS - 1))] >> (vlan & 63) & 1;
}

/* The VLAN of a frame that comes in; without tag, or with a tag that says only a priority, the port's. */
static __always_inline u32 self_vlan_of(nf_ctx *ctx, u32 port, u32 untagged)
{
	s32 tag = hook_tag(ctx);
	u32 vlan = tag < 0 ? 0 : tag & VLAN_ID;

	if (!vlan)
		vlan = untagged;
	return vlan && self_is_member(port, vlan) ? vlan : VLAN_NONE;
}

/* Give a frame that leaves its tag, or take it. Not 0 if that cannot be. */
static __always_inline int self_set_vlan(nf_ctx *ctx, u32 vlan, u32 untagged)
{
	s32 tag = hook_tag(ctx);

	if (vlan == untagged)
		return tag < 0 ? 0 : hook_untag(ctx);
	if (tag < 0)
		return hook_add_tag(ctx, ETH_P_8021Q, vlan);
	return tag & VLAN_ID ? 0 : hook_set_tag(ctx, tag | vlan);
}
