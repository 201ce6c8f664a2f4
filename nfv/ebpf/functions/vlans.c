/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VLANs of a trunk (IEEE 802.1Q): what comes in by the trunk leaves, without its tags, by the port that
 * they say, and gets them on its way back. One lookup a tag; nothing is learned, nothing flooded.
 */
#include "nf.h"
#include "ports.h"

#define SELF_TRUNK 0 /* the first of the ports */
#define SELF_TAGS 2
#define SELF_ID 0x0fff
#define SELF_PAGE 0x8000     /* a page of inner tags, not a port */
#define SELF_PAGE_SHIFT 12   /* as many VLAN identifiers as a page has words */
#define SELF_PROTOCOLS 2     /* pages of the outermost tag: of 802.1Q, of 802.1ad */
#define SELF_PROTOCOL_MASK 1 /* of the number of such a page */

#ifndef SELF_PAGES
#define SELF_PAGES SELF_PROTOCOLS
#endif

/* The tags of a port, the outermost first. */
struct self_port {
	u32 count;
	u32 tags[SELF_TAGS]; /* protocol, VLAN */
	u32 reserved;
};

BPF_F_TABLE("array", u32, struct self_port, self_ports, NF_FLAT, BPF_F_MMAPABLE);

/*
 * By VLAN identifier, which is 0 for a frame without a tag: the number of a port, or SELF_PAGE and the page
 * for the next tag; 0 is nowhere, as the trunk is no port of its own.
 */
BPF_F_TABLE("array", u32, u16, self_pages, NF_FLAT, BPF_F_MMAPABLE);

static __always_inline struct self_port *self_port(u32 number)
{
	struct self_port *port = self_ports.sk_storage_get(0, 0, 0);

	return port + number;
}

static __always_inline u32 self_word(u32 page, u32 tag)
{
	u16 *words = self_pages.sk_storage_get(0, 0, 0);

	return page < SELF_PAGES ? words[page << SELF_PAGE_SHIFT | (tag & SELF_ID)] : 0;
}

/* The port that a frame from the trunk is for, 0 if there is none. */
static __always_inline u32 self_port_of(nf_ctx *ctx)
{
	u32 tag = hook_tag_at(ctx, 0);
	u32 word = self_word(tag >> 16 == ETH_P_8021AD & SELF_PROTOCOL_MASK, tag);

	if (word & SELF_PAGE) {
		tag = hook_tag_at(ctx, 1);
		word = tag >> 16 == ETH_P_8021AD ? 0 : self_word(word & ~SELF_PAGE, tag);
	}
	return word < SELF_PORTS ? word : 0;
}

/* Give a frame the tags of a port. Not 0 if that cannot be. */
static __always_inline int self_push_tags(nf_ctx *ctx, const struct self_port *port)
{
	u32 outer = port->tags[0], inner = port->tags[1];

	if (port->count > 1 && hook_add_tag(ctx, inner >> 16, inner))
		return -1;
	return port->count ? hook_add_tag(ctx, outer >> 16, outer) : 0;
}

/* Take the tags of a port from a frame, and one behind them that says a priority only. */
static __always_inline int self_pull_tags(nf_ctx *ctx, const struct self_port *port)
{
	u32 tag;

#pragma unroll
	for (int i = 0; i < SELF_TAGS; i++)
		if (i < port->count && hook_untag(ctx))
			return -1;
	tag = hook_tag_at(ctx, 0);
	return tag && !(tag & SELF_ID) ? hook_untag(ctx) : 0;
}

static __always_inline u32 self_refuse(nf_ctx *ctx, u32 from, u32 way, u32 vlan)
{
	int failed;

	if (from >= SELF_PORTS)
		return NF_REASON_NONE;
	if (way == SELF_TRUNK)
		failed = self_push_tags(ctx, self_port(from));
	else
		failed = self_pull_tags(ctx, self_port(way));
	return failed ? NF_REASON_VLAN : 0;
}

static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	u32 to = SELF_TRUNK;

	if (way == SELF_TRUNK) {
		to = self_port_of(ctx);
		if (!to)
			return nf_drop(pkt, NF_REASON_VLAN);
	}
	pkt->told = self_told(way, 0);
	return self_select(pkt, to);
}
