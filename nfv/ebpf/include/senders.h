/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who is one sender to a service: a station, and behind it an address of IPv4, or a network (/64) of IPv6
 * since a host has all of its addresses. Senders whose hashes meet are one; which ones is not known.
 */
#include "nf.h"
#include "questions.h"

#define SELF_SENDERS 65536 /* a power of two */

/* The number of a sender; 0 if the frame has no Ethernet header. */
static __always_inline u32 self_sender(nf_ctx *ctx, const struct nf_packet *pkt,
				       const struct self_server *server)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));
	u64 hash = server->seeds[0] ^ pkt->family, network = 0;
	const u16 *mac;

	if (!eth)
		return 0;
	mac = (const u16 *)eth->h_source;
	hash = self_mix(hash, mac[0] | (u64)mac[1] << 16 | (u64)mac[2] << 32, SELF_MIX_PLACE);
	if (pkt->family == 4)
		network = pkt->src[0];
	else if (pkt->family == 6)
		network = pkt->src[0] | (u64)pkt->src[1] << 32;
	hash = self_mix(hash, network, SELF_MIX_PRINT);
	return self_mix(hash, server->seeds[1], SELF_MIX_PLACE) >> 32 & (SELF_SENDERS - 1);
}
