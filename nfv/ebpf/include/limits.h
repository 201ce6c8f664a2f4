/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How many answers a second a network gets: a bucket for each /24 or /56, by the time at which it would
 * be full again (generic cell rate algorithm). Networks may share a bucket; which ones is not known.
 */
#include "nf.h"
#include "questions.h"

#define SELF_TICK 16 /* binary digits of a part of a jiffy */

struct self_bucket {
	u64 empty; /* when it is empty, in parts of a jiffy */
	u32 over;  /* queries beyond the limit */
	u32 reserved;
};

BPF_TABLE("array", u32, struct self_bucket, self_buckets, 1);

static __always_inline u32 self_bucket_of(const struct nf_packet *pkt,
					  const struct self_server *server)
{
	u64 network = pkt->src[0] & bpf_htonl(0xffffff00);

	if (pkt->family == 6)
		network = pkt->src[0] | (u64)(pkt->src[1] & bpf_htonl(0xffffff00)) << 32;
	network = self_mix(server->seeds[0] ^ pkt->family, network, SELF_MIX_PLACE);
	return self_mix(network, server->seeds[1], SELF_MIX_PRINT) >> 32;
}

/* What becomes of a query: 0 it is answered, 1 it is beyond the limit, 2 it is told to come by TCP. */
static __always_inline int self_limit(const struct nf_packet *pkt, const struct self_server *server)
{
	u64 now = bpf_jiffies64() << SELF_TICK;
	struct self_bucket *bucket;
	u32 index;

	if (!server->interval)
		return 0;
	index = self_bucket_of(pkt, server) & server->buckets;
	bucket = self_buckets.lookup(&index);
	if (!bucket)
		return 0;
	if (bucket->empty < now)
		bucket->empty = now;
	if (bucket->empty + server->interval <= now + server->burst) {
		bucket->empty += server->interval;
		return 0;
	}
	bucket->over++;
	return server->slip && bucket->over % server->slip == 0 ? 2 : 1;
}
