/* SPDX-License-Identifier: GPL-2.0 */
/* What a NAT edits of a packet, and where it counts it. */
#include "mappings.h"

enum self_counted {
	SELF_OUT = 0,
	SELF_IN = 1,
	SELF_STATIC_OUT = 2,
	SELF_STATIC_IN = 3,
	SELF_UNTRANSLATED = 4,
};

BPF_TABLE("percpu_array", u32, struct nf_counter, self_counters, 1);

static __always_inline int self_count(struct nf_packet *pkt, u32 place)
{
	struct nf_counter *counter = self_counters.lookup(&place);

	pkt->counter = place;
	if (counter)
		nf_count(counter, pkt);
	return NF_NEXT;
}

/* Give the packet another source. */
static __always_inline void self_put_source(struct nf_packet *pkt, u32 address, u16 port)
{
	pkt->src[0] = address;
	pkt->edits |= NF_EDIT_SRC;
	if (pkt->protocol == IPPROTO_ICMP && pkt->echo_id != port) {
		pkt->echo_id = port;
		pkt->edits |= NF_EDIT_ECHO;
	} else if (pkt->has_l4 && self_has_ports(pkt->protocol)) {
		pkt->sport = port;
		pkt->edits |= NF_EDIT_SPORT;
	}
}

static __always_inline void self_put_destination(struct nf_packet *pkt, u32 address, u16 port)
{
	pkt->dst[0] = address;
	pkt->edits |= NF_EDIT_DST;
	if (pkt->protocol == IPPROTO_ICMP && pkt->echo_id != port) {
		pkt->echo_id = port;
		pkt->edits |= NF_EDIT_ECHO;
	} else if (pkt->has_l4 && self_has_ports(pkt->protocol)) {
		pkt->dport = port;
		pkt->edits |= NF_EDIT_DPORT;
	}
}
