/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Name server: queries whose answers are known are answered here, what else is sent to its addresses
 * is for its service, and everything else passes.
 *
 * A frame is the server's if it comes to its MAC address, or asks a group for one of its addresses
 * (ARP, RFC 826; neighbour solicitation, RFC 4861).
 */
#include "nf.h"
#include "own.h"
#include "answers.h"
#include "commit.h"

#define SELF_BURST (SELF_SECOND / 8) /* what the queue to the service has room for */
#include "pace.h"
#include "senders.h"

/* Frames for this station: 1 unicast, 2 broadcast or multicast, 0 neither. */
static __always_inline int self_station(nf_ctx *ctx, const struct nf_packet *pkt,
					const struct self_server *server)
{
	const struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));
	const u16 *to, *own = (const u16 *)server->mac;

	if (!eth || !(own[0] | own[1] | own[2]))
		return 0;
	to = (const u16 *)(pkt->edits & NF_EDIT_HOP ? pkt->macs : eth->h_dest);
	if (to[0] == own[0] && to[1] == own[1] && to[2] == own[2])
		return 1;
	return *to & 1 ? 2 : 0;
}

/* `way` is the direction along the chain (enum nf_direction), which makes no difference. */
static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	u32 index = 0;
	struct self_server *server = self_server.lookup(&index);
	int station = server ? self_station(ctx, pkt, server) : 0;

	if (!station)
		return NF_NEXT;
	if (station == 1 && pkt->family && self_is_own(pkt)) {
		int verdict;

		commit_packet(ctx, pkt);
		verdict = self_answer(ctx, pkt, server);

		if (verdict != NF_NEXT)
			return verdict;
	} else if (!self_is_asked(ctx, pkt)) {
		return NF_NEXT;
	}
	return self_hand_over(pkt, self_sender(ctx, pkt, server));
}
