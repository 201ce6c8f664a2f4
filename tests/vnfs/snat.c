/* SPDX-License-Identifier: GPL-2.0 */
/* Source NAT of one prefix to another, without state (snat.py). */
#include "nf.h"

/* Prefixes and their host part, in host order; the bits of ports that change. */
#ifndef SELF_INSIDE
#define SELF_INSIDE 0
#define SELF_OUTSIDE 0
#define SELF_HOSTS 0
#define SELF_PORTS 0
#endif

BPF_TABLE("percpu_array", u32, struct nf_counter, self_counters, 1);

static __always_inline int self_is_in(u32 address, u32 prefix)
{
	return (address & bpf_htonl(~SELF_HOSTS)) == bpf_htonl(prefix);
}

static __always_inline u32 self_move(u32 address, u32 prefix)
{
	return (address & bpf_htonl(SELF_HOSTS)) | bpf_htonl(prefix);
}

/* The port or echo identifier of the side that is translated; `edit` is its port's. */
static __always_inline void self_port(struct nf_packet *pkt, u16 *port, u8 edit)
{
	if (!pkt->has_l4)
		return;
	if (pkt->protocol == IPPROTO_TCP || pkt->protocol == IPPROTO_UDP) {
		*port ^= bpf_htons(SELF_PORTS);
		pkt->edits |= edit;
	} else if (pkt->protocol == IPPROTO_ICMP) {
		pkt->echo_id ^= bpf_htons(SELF_PORTS);
		pkt->edits |= NF_EDIT_ECHO;
	}
}

static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	struct nf_counter *counter;
	u32 index = 0;

	if (pkt->family == 4 && way == NF_DIR_FORWARD && self_is_in(pkt->src[0], SELF_INSIDE)) {
		pkt->src[0] = self_move(pkt->src[0], SELF_OUTSIDE);
		pkt->edits |= NF_EDIT_SRC;
		self_port(pkt, &pkt->sport, NF_EDIT_SPORT);
	} else if (pkt->family == 4 && way == NF_DIR_REVERSE &&
		   self_is_in(pkt->dst[0], SELF_OUTSIDE)) {
		pkt->dst[0] = self_move(pkt->dst[0], SELF_INSIDE);
		pkt->edits |= NF_EDIT_DST;
		self_port(pkt, &pkt->dport, NF_EDIT_DPORT);
	}
	pkt->counter = 0;
	counter = self_counters.lookup(&index);
	if (counter)
		nf_count(counter, pkt);
	return NF_NEXT;
}
