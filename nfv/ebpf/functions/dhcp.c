/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DHCPv4 (RFC 2131) and DHCPv6 (RFC 9915): takes out of the chain what clients and relay agents send to a
 * server. What a client has asked before by DHCPv4 is answered here, all else is handed over to the
 * service. What is for another server passes, unless it is an answer: no other server's answers reach the
 * clients (unless `guard` is false).
 */
#include "nf.h"
#include "commit.h"
#include "own.h"
#include "pace.h"
#include "repeats.h"

#ifndef SELF_IPV6
#define SELF_IPV6 1 /* answers DHCPv6 */
#endif

#define SELF_STAGES 1024 /* a power of two; those beyond share the buckets */

#define SELF_SERVER 67
#define SELF_CLIENT 68
#define SELF_BROADCAST 0xffffffff

#define SELF_SERVER6 547
#define SELF_CLIENT6 546
#define SELF_LINK 0xff020000 /* groups on the link: ff02::1:2 is all servers and relay agents */
#define SELF_AGENTS 0x00010002
#define SELF_SITE 0xff050000 /* and in the site: ff05::1:3 is all servers */
#define SELF_SERVERS 0x00010003

/* Whether a datagram to the servers' port is for this one: to all, or to an address of its own. */
static __always_inline int self_is_mine(const struct nf_packet *pkt)
{
#if SELF_IPV6
	if (pkt->family == 6) {
		u32 group = bpf_ntohl(pkt->dst[3]);

		if (!(pkt->dst[1] | pkt->dst[2]) &&
		    ((pkt->dst[0] == bpf_htonl(SELF_LINK) && group == SELF_AGENTS) ||
		     (pkt->dst[0] == bpf_htonl(SELF_SITE) && group == SELF_SERVERS)))
			return 1;
		return self_is_own6(pkt->dst);
	}
#endif
	return pkt->dst[0] == SELF_BROADCAST || self_is_own4(pkt->dst[0]);
}

static __always_inline int self_is_to(const struct nf_packet *pkt, u16 ipv4, u16 ipv6)
{
	return pkt->dport == (pkt->family == 4 ? bpf_htons(ipv4) : bpf_htons(ipv6));
}

/* Each chain and direction has a bucket of its own. */
static __always_inline int self_pace(struct nf_packet *pkt)
{
	return self_hand_over(pkt, pkt->stage & (SELF_STAGES - 1));
}

static __always_inline int self_serve(nf_ctx *ctx, struct nf_packet *pkt)
{
	int verdict = NF_NEXT;

	commit_packet(ctx, pkt);
	if (pkt->family == 4)
		verdict = self_repeat(ctx, pkt);
	return verdict == NF_NEXT ? self_pace(pkt) : verdict;
}

static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	if (self_is_asked(ctx, pkt))
		return self_pace(pkt);
	if (pkt->protocol != IPPROTO_UDP || !pkt->has_l4 || (pkt->family == 6 && !SELF_IPV6))
		return NF_NEXT;
	if (self_is_to(pkt, SELF_SERVER, SELF_SERVER6)) {
		pkt->fleeting = 1; /* others may be for this server */
		if (!self_is_mine(pkt))
			return NF_NEXT;
		if (pkt->fragment != NF_FRAGMENT_NONE)
			return nf_drop(pkt, NF_REASON_FRAGMENT);
		return self_serve(ctx, pkt);
	}
#if SELF_GUARD
	if (self_is_to(pkt, SELF_CLIENT, SELF_CLIENT6)) /* clients do not ask from which port */
		return nf_drop(pkt, NF_REASON_ROGUE);
#endif
	return NF_NEXT;
}
