/* SPDX-License-Identifier: GPL-2.0 */
/* Echoes and ICMP errors, and the packet that an error quotes (RFC 792, RFC 4443). */
#ifndef NFV_QUOTED_H
#define NFV_QUOTED_H

#include "parse.h"

/* 1 for an echo request, 2 for a reply, 0 for anything else. */
static __always_inline int quoted_echo(u8 protocol, u8 type)
{
	if (protocol == IPPROTO_ICMPV6)
		return type == 128 ? 1 : type == 129 ? 2 : 0;
	return type == 8 ? 1 : type == 0 ? 2 : 0;
}

/* Whether an ICMP or ICMPv6 message is an error, which quotes a packet. */
static __always_inline int quoted_is_error(const struct nf_packet *pkt)
{
	u8 type = bpf_ntohs(pkt->dport) >> 8;

	if (pkt->protocol == IPPROTO_ICMPV6)
		return type >= 1 && type <= 4;
	return type == 3 || type == 4 || type == 11 || type == 12;
}

/* `size` bytes of a quote, or NULL: what follows the packet in its frame is no part of it. */
static __always_inline void *quoted_at(nf_ctx *ctx, const struct nf_packet *pkt, u32 offset,
				       u32 size)
{
	return offset + size > parse_end(pkt) ? 0 : nf_at(ctx, offset, size);
}

#endif /* NFV_QUOTED_H */
