/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts and drops the frames of the generator that arrive at a device; all others go on. It is for
 * XDP, or for the ingress of TC with NFV_TC: what one program of TC sends to the far end of a veth
 * passes no XDP program there. Both count in the same maps, and a frame meets one of them.
 *
 * Whatever arrives may claim to be a frame of the generator: nothing in it is taken as an index
 * before it was compared with what was sent.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/pkt_cls.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

#include "histogram.h"
#include "stamp.h"

#ifdef NFV_TC
typedef struct __sk_buff sink_ctx;
#define SINK_PASS TC_ACT_UNSPEC
#define SINK_DROP TC_ACT_SHOT
#define SINK_HEADERS 128 /* bytes that are looked at */
#else
typedef struct xdp_md sink_ctx;
#define SINK_PASS XDP_PASS
#define SINK_DROP XDP_DROP
#endif

/* What is expected. */
struct sink_trial {
	u32 number;
	u32 frames;
	u32 flows;
};

/* Of each CPU; times are in nanoseconds. */
struct sink_tally {
	u64 frames; /* each counted once */
	u64 bytes;
	u64 duplicates;
	u64 reordered; /* came after a later one of their flow (RFC 4737, section 4) */
	u64 late;      /* of the trial before */
	u64 timed;
	u64 total; /* of the times that they took */
	u64 least;
	u64 most;
};

BPF_ARRAY(sink_trials, struct sink_trial, 1);
BPF_TABLE("percpu_array", u32, struct sink_tally, sink_tallies, 1);
BPF_F_TABLE("array", u32, u64, sink_seen, 1, BPF_F_MMAPABLE); /* a bit for each frame */
BPF_F_TABLE("array", u32, u32, sink_next, 1, BPF_F_MMAPABLE); /* by flow, after the latest */
BPF_F_TABLE("array", u32, u64, sink_times, HISTOGRAM_BUCKETS, BPF_F_MMAPABLE);

/* Where the payload of a UDP or TCP packet begins; NULL if it is none. */
static __always_inline void *sink_payload(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct tcphdr *tcp;
	void *transport;
	u8 protocol;

	if ((void *)(eth + 1) > end)
		return NULL;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return NULL;
		protocol = ip->protocol;
		transport = (void *)ip + ip->ihl * 4;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return NULL;
		protocol = ip->nexthdr;
		transport = ip + 1;
	} else {
		return NULL;
	}
	if (protocol == IPPROTO_UDP)
		return transport + sizeof(struct udphdr);
	tcp = transport;
	if (protocol != IPPROTO_TCP || (void *)(tcp + 1) > end)
		return NULL;
	return transport + tcp->doff * 4;
}

/* Whether a frame came before; CPUs that note neighbours at once may forget one of them. */
static __always_inline bool sink_is_known(u32 sequence)
{
	u32 place = sequence / 64;
	u64 bit = 1ull << (sequence % 64), *seen;

	seen = sink_seen.lookup(&place);
	if (!seen)
		return false;
	if (*seen & bit)
		return true;
	*seen |= bit;
	return false;
}

static __always_inline bool sink_is_overtaken(u32 flow, u32 sequence)
{
	u32 *next = sink_next.lookup(&flow);

	if (!next)
		return false;
	if (sequence < *next)
		return true;
	*next = sequence + 1;
	return false;
}

static __always_inline void sink_time(struct sink_tally *tally, u64 sent)
{
	u64 now = bpf_ktime_get_ns(), took = now > sent ? now - sent : 0, *count;
	u32 bucket = histogram_bucket(took);

	tally->timed++;
	tally->total += took;
	if (took > tally->most)
		tally->most = took;
	if (took < tally->least || tally->timed == 1)
		tally->least = took;
	count = sink_times.lookup(&bucket);
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void sink_count(const struct stamp *stamp, u64 length)
{
	struct sink_tally *tally;
	u32 zero = 0;

	tally = sink_tallies.lookup(&zero);
	if (!tally)
		return;
	if (sink_is_known(stamp->sequence)) {
		tally->duplicates++;
		return;
	}
	tally->frames++;
	tally->bytes += length;
	if (sink_is_overtaken(stamp->flow, stamp->sequence))
		tally->reordered++;
	if (stamp->time)
		sink_time(tally, stamp->time);
}

/* Whether a frame is of the trial before, and counted so. */
static __always_inline bool sink_is_late(const struct sink_trial *trial, const struct stamp *stamp)
{
	struct sink_tally *tally;
	u32 zero = 0;

	if (stamp->trial != (u16)(trial->number - 1))
		return false;
	tally = sink_tallies.lookup(&zero);
	if (tally)
		tally->late++;
	return true;
}

int sink(sink_ctx *ctx)
{
	struct sink_trial *trial;
	struct stamp stamp;
	u32 zero = 0;
	void *payload;
	u64 length;

	trial = sink_trials.lookup(&zero);
	if (!trial)
		return SINK_PASS;
#ifdef NFV_TC
	length = ctx->len;
	if ((void *)(long)ctx->data + SINK_HEADERS > (void *)(long)ctx->data_end)
		bpf_skb_pull_data(ctx, length < SINK_HEADERS ? length : SINK_HEADERS);
#else
	length = ctx->data_end - ctx->data;
#endif
	payload = sink_payload((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	if (!payload || payload + sizeof(stamp) > (void *)(long)ctx->data_end)
		return SINK_PASS;
	__builtin_memcpy(&stamp, payload, sizeof(stamp));
	if (stamp.trial != (u16)trial->number)
		return sink_is_late(trial, &stamp) ? SINK_DROP : SINK_PASS;
	if (stamp.sequence >= trial->frames || stamp.flow >= trial->flows)
		return SINK_PASS;
	sink_count(&stamp, length);
	return SINK_DROP;
}
