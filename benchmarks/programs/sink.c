/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts and drops the TCP and UDP packets that arrive; what keeps neighbours alive goes on. Where
 * STAMP_AT is not 0, frames say there when they were due, and how long they took is counted too.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>

#define INTERVAL 64   /* packets between two looks at the clock, which costs as much as a map */
#define RESOLUTION 16 /* nanoseconds */
#define DURATIONS 65536

/* Of each CPU; times are in nanoseconds. */
struct tally {
	u64 packets;
	u64 first; /* when the first packet arrived */
	u64 last;  /* when the last but packets % INTERVAL arrived */
};

BPF_TABLE("percpu_array", u32, struct tally, tallies, 1);
BPF_F_TABLE("array", u32, u64, durations, 1, BPF_F_MMAPABLE);

static __always_inline void note(struct tally *tally)
{
	if (tally->packets % INTERVAL == 0) {
		tally->last = bpf_ktime_get_ns();
		if (!tally->packets)
			tally->first = tally->last;
	}
	tally->packets++;
}

#if STAMP_AT
static __always_inline void time(const void *data, const void *end)
{
	u64 due, *count;
	u32 index;

	if (data + STAMP_AT + 8 > end)
		return;
	__builtin_memcpy(&due, data + STAMP_AT, 8);
	due = (bpf_ktime_get_ns() - due) / RESOLUTION;
	index = due < DURATIONS ? due : DURATIONS - 1;
	count = durations.lookup(&index);
	if (count)
		(*count)++;
}
#endif

int sink(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);
	int zero = 0;
	u8 protocol = 0;
	struct tally *tally;

	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		protocol = ip->protocol;
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end)
		protocol = ip6->nexthdr;
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return XDP_PASS;
	tally = tallies.lookup(&zero);
	if (tally)
		note(tally);
#if STAMP_AT
	time(eth, end);
#endif
	return XDP_DROP;
}
