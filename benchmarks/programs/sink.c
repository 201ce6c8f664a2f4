/* SPDX-License-Identifier: GPL-2.0 */
/* Counts and drops the TCP and UDP packets that arrive; what keeps neighbours alive goes on. */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>

#define INTERVAL 64 /* packets between two looks at the clock, which costs as much as a map */

/* Frames are counted on the CPU that sends them; times are in nanoseconds. */
struct tally {
	u64 packets;
	u64 first; /* when the first packet arrived */
	u64 last;  /* when the last but packets % INTERVAL arrived */
};

BPF_ARRAY(tallies, struct tally, 1);

static __always_inline void note(struct tally *tally)
{
	if (tally->packets % INTERVAL == 0) {
		tally->last = bpf_ktime_get_ns();
		if (!tally->packets)
			tally->first = tally->last;
	}
	tally->packets++;
}

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
	return XDP_DROP;
}
