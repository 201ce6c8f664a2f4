/* SPDX-License-Identifier: GPL-2.0 */
/* Hub: a copy of every frame to every other port. */
#include "nf.h"
#include "ports.h"

static __always_inline u32 self_refuse(nf_ctx *ctx, u32 from, u32 way, u32 vlan)
{
	return 0;
}

static __always_inline int self_process(nf_ctx *ctx, struct nf_packet *pkt, u32 way)
{
	pkt->told = self_told(way, 0);
	pkt->reason = NF_REASON_FLOODED;
	return NF_FLOOD;
}
