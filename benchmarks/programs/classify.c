/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Finds the first rule for one packet after the other, RUN of them each time, by METHOD(pkt): parsed
 * packets are in one map, the rules found go to another.
 */
#ifndef METHOD
#define METHOD(pkt) MATCH_NONE
#endif

#define RUN 8
#define PACKETS 4096 /* a power of two */

BPF_F_TABLE("array", u32, struct nf_packet, packets, PACKETS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, found, PACKETS, BPF_F_MMAPABLE);
BPF_ARRAY(cursor, u32, 1);

int classify(nf_ctx *ctx)
{
	u32 index = 0, *next = cursor.lookup(&index);

	if (!next)
		return XDP_DROP;
#pragma clang loop unroll(disable)
	for (int i = 0; i < RUN; i++) {
		u32 at = (*next)++ & (PACKETS - 1);
		u64 *result;
		struct nf_packet *pkt;

		pkt = packets.lookup(&at);
		result = found.lookup(&at);
		if (!pkt || !result)
			return XDP_DROP;
		*result = METHOD(pkt);
	}
	return XDP_PASS;
}
