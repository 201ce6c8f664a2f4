/* SPDX-License-Identifier: GPL-2.0 */
/* The messages without which no IPv6 host can be reached, as no IPv4 host can without ARP. */
#ifndef NFV_DISCOVERY_H
#define NFV_DISCOVERY_H

#include "nf.h"

/* Neighbour and router discovery and multicast listener reports (RFC 4861, RFC 2710, RFC 3810). */
static __always_inline int discovery_is(const struct nf_packet *pkt)
{
	u8 type = bpf_ntohs(pkt->dport) >> 8;

	if (pkt->family != 6 || pkt->protocol != IPPROTO_ICMPV6 || !pkt->has_l4)
		return 0;
	if (type >= 133 && type <= 136)
		return pkt->ttl == 255;
	return (type == 143 || (type >= 130 && type <= 132)) && pkt->ttl == 1;
}

#endif /* NFV_DISCOVERY_H */
