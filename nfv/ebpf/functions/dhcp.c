/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DHCPv4 (RFC 2131): takes out of the chain what clients and relay agents send to a server. What a client
 * has asked before is answered here, all else is handed over to the service. What is for another server
 * passes, unless it is an answer: no other server's answers reach the clients (unless `guard` is false).
 */
#include "nf.h"
#include "commit.h"
#include "own.h"
#include "repeats.h"

#define SELF_SERVER 67
#define SELF_CLIENT 68
#define SELF_BROADCAST 0xffffffff

/* Whether a datagram to the servers' port is for this one: to all, or to an address of its own. */
static __always_inline int self_is_mine(const struct nf_packet *pkt)
{
	return pkt->dst[0] == SELF_BROADCAST || self_is_own4(pkt->dst[0]);
}

static __always_inline int self_serve(nf_ctx *ctx, struct nf_packet *pkt)
{
	int verdict;

	commit_packet(ctx, pkt);
	verdict = self_repeat(ctx, pkt);
	return verdict == NF_NEXT ? nf_serve(pkt, NF_REASON_SERVICE) : verdict;
}

static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	if (self_is_asked(ctx, pkt))
		return nf_serve(pkt, NF_REASON_SERVICE);
	if (pkt->family != 4 || pkt->protocol != IPPROTO_UDP || !pkt->has_l4)
		return NF_NEXT;
	if (pkt->dport == bpf_htons(SELF_SERVER)) {
		pkt->fleeting = 1; /* others may be for this server */
		if (!self_is_mine(pkt))
			return NF_NEXT;
		if (pkt->fragment != NF_FRAGMENT_NONE)
			return nf_drop(pkt, NF_REASON_FRAGMENT);
		return self_serve(ctx, pkt);
	}
#if SELF_GUARD
	if (pkt->dport == bpf_htons(SELF_CLIENT) && pkt->sport == bpf_htons(SELF_SERVER))
		return nf_drop(pkt, NF_REASON_ROGUE);
#endif
	return NF_NEXT;
}
