/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The flow cache: what became of a flow's last packet, kept to be done again without the walk.
 *
 * Each CPU has a table of its own, where a flow may be in either of two places: an entry has one
 * writer and needs no lock. It is a cache and never the truth. An entry that lost its place, or was
 * made before the last change of any table (the epoch), or is older than FLOW_LIFE, misses, and the
 * packet walks. So whatever a function keeps of a connection is brought up to date at least that
 * often, and packets that change a connection (TCP but for plain ACKs) always walk.
 */
#ifndef NFV_FLOW_H
#define NFV_FLOW_H

#include "nf.h"
#include "checksum.h"
#include "entry.h"

#define FLOW_SLOTS 16384 /* of each CPU; a power of two */
#define FLOW_LIFE 64     /* jiffies; SELF_SEEN_SLACK is the same for connections */
#define FLOW_PATHS 4096  /* paths that each CPU can count */

#define FLOW_TCP_FLAGS 0x17 /* FIN, SYN, RST, ACK */
#define FLOW_TCP_ACK 0x10
#define FLOW_IPV4_PLAIN 0x45      /* version 4, no options */
#define FLOW_IPV4_FRAGMENT 0x3fff /* offset, and that more follow */
#define FLOW_TCP_BYTES 14         /* of a TCP header, up to its flags */

/* What was done to the last packet of the flow, and will be to the next. */
struct flow_action {
	u8 to[ETH_ALEN]; /* the packet came to this MAC address */
	u16 mtu;         /* of the way out, from the IP header on */
	u8 macs[2 * ETH_ALEN];
	u32 egress;
	u32 path; /* where it is counted */
	u32 epoch;
	u32 made; /* jiffies */
	u8 hops;  /* routers passed; if none, the MAC addresses stay */
	u8 reserved[7];
};

struct flow_key4 {
	u32 src, dst;
	u32 ports;
	u16 port; /* where it entered */
	u8 protocol;
	u8 used; /* an entry that was never written is no flow */
};

struct flow4 {
	struct flow_key4 key;
	struct flow_action action;
};

struct flow_key6 {
	u64 src[2], dst[2];
	u32 ports;
	u16 port;
	u8 protocol;
	u8 used;
};

struct flow6 {
	struct flow_key6 key;
	struct flow_action action;
	u8 reserved[40];
};

/* All that a walk of this kind counts; user space adds a path's packets to each. */
struct flow_path {
	u16 port;
	u16 egress;
	u32 counted[NF_PATH_LENGTH]; /* as in struct nf_packet */
};

/* Counted up by user space whenever a table changes. */
struct flow_epoch {
	u32 epoch;
	u32 reserved;
};

/* What each CPU has handed out of its range of path numbers. */
struct flow_numbers {
	u32 next;
	u32 reserved;
};

BPF_F_TABLE("array", u32, struct flow4, nf_flows4, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct flow6, nf_flows6, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct flow_epoch, nf_epoch, 1, BPF_F_MMAPABLE);
BPF_TABLE("hash", struct flow_path, u64, nf_paths, 1);
BPF_TABLE("percpu_array", u32, struct nf_counter, nf_walked, 1);
BPF_TABLE("percpu_array", u32, struct flow_numbers, nf_numbers, 1);

/* The epoch of the tables. */
static __always_inline u32 flow_now(void)
{
	u32 index = 0;
	struct flow_epoch *found = nf_epoch.lookup(&index);

	return found ? found->epoch : 0;
}

/* The first of the two entries that a flow may have; the other is its neighbour. */
static __always_inline u32 flow_slot(u64 hash)
{
	hash ^= hash >> 32;
	hash *= 0x9e3779b97f4a7c15ull;
	return bpf_get_smp_processor_id() * FLOW_SLOTS + ((hash >> 40) & (FLOW_SLOTS - 2));
}

static __always_inline u32 flow_slot4(const struct flow_key4 *key)
{
	return flow_slot(((u64)key->src << 32 | key->dst) + (u64)key->ports * 0xff51afd7 +
			 key->port + key->protocol);
}

static __always_inline u32 flow_slot6(const struct flow_key6 *key)
{
	return flow_slot((key->src[0] ^ key->dst[0] * 3) + (key->src[1] ^ key->dst[1] * 5) +
			 (u64)key->ports * 0xff51afd7 + key->port + key->protocol);
}

static __always_inline int flow_is4(const struct flow4 *flow, const struct flow_key4 *key)
{
	return flow->key.src == key->src && flow->key.dst == key->dst &&
	       flow->key.ports == key->ports && flow->key.port == key->port &&
	       flow->key.protocol == key->protocol && flow->key.used;
}

static __always_inline int flow_is6(const struct flow6 *flow, const struct flow_key6 *key)
{
	return flow->key.src[0] == key->src[0] && flow->key.src[1] == key->src[1] &&
	       flow->key.dst[0] == key->dst[0] && flow->key.dst[1] == key->dst[1] &&
	       flow->key.ports == key->ports && flow->key.port == key->port &&
	       flow->key.protocol == key->protocol && flow->key.used;
}

static __always_inline struct flow4 *flow_find4(const struct flow_key4 *key)
{
	u32 index = flow_slot4(key);
	struct flow4 *flow = nf_flows4.lookup(&index);

	if (flow && flow_is4(flow, key))
		return flow;
	index++;
	flow = nf_flows4.lookup(&index);
	return flow && flow_is4(flow, key) ? flow : 0;
}

static __always_inline struct flow6 *flow_find6(const struct flow_key6 *key)
{
	u32 index = flow_slot6(key);
	struct flow6 *flow = nf_flows6.lookup(&index);

	if (flow && flow_is6(flow, key))
		return flow;
	index++;
	flow = nf_flows6.lookup(&index);
	return flow && flow_is6(flow, key) ? flow : 0;
}

/* Whether the first of two entries was made before the second; jiffies wrap. */
static __always_inline int flow_is_older(const struct flow_action *first,
					 const struct flow_action *second)
{
	return first->made - second->made > 0x80000000u;
}

/* The entry to write for a flow: the one it has, else the older of the two it may have. */
static __always_inline struct flow4 *flow_place4(const struct flow_key4 *key)
{
	u32 index = flow_slot4(key);
	struct flow4 *first = nf_flows4.lookup(&index), *second;

	index++;
	second = nf_flows4.lookup(&index);
	if (!first || !second)
		return 0;
	if (flow_is4(first, key))
		return first;
	if (flow_is4(second, key) || !flow_is_older(&first->action, &second->action))
		return second;
	return first;
}

static __always_inline struct flow6 *flow_place6(const struct flow_key6 *key)
{
	u32 index = flow_slot6(key);
	struct flow6 *first = nf_flows6.lookup(&index), *second;

	index++;
	second = nf_flows6.lookup(&index);
	if (!first || !second)
		return 0;
	if (flow_is6(first, key))
		return first;
	if (flow_is6(second, key) || !flow_is_older(&first->action, &second->action))
		return second;
	return first;
}

/* Whether what was done to the last packet may be done to one of this length. */
static __always_inline int flow_fresh(const struct flow_action *action, u32 length)
{
	return action->epoch == flow_now() && (u32)bpf_jiffies64() - action->made <= FLOW_LIFE &&
	       length <= action->mtu;
}

/* Whether a packet came to the same MAC address as the last one: a router asks, others do not. */
static __always_inline int flow_is_to(const struct flow_action *action, const struct ethhdr *eth)
{
	const u16 *to = (const u16 *)eth->h_dest, *wanted = (const u16 *)action->to;

	return !action->hops || (to[0] == wanted[0] && to[1] == wanted[1] && to[2] == wanted[2]);
}

static __always_inline int flow_send(nf_ctx *ctx, const struct flow_action *action,
				     const struct hook_wire *wire)
{
	u32 path = action->path;
	struct nf_counter *counter = nf_walked.lookup(&path);

	if (counter)
		nf_add(counter, wire);
	return hook_send(ctx, action->egress);
}

/* UDP, or a TCP segment in the middle of a connection: ACK without FIN, SYN or RST. */
static __always_inline int flow_is_plain(u8 protocol, const u8 *l4, const void *data_end)
{
	if (protocol == IPPROTO_TCP)
		return (void *)(l4 + FLOW_TCP_BYTES) <= data_end &&
		       (l4[13] & FLOW_TCP_FLAGS) == FLOW_TCP_ACK;
	return protocol == IPPROTO_UDP;
}

/* The least length of the transport header. */
static __always_inline u32 flow_least(u8 protocol)
{
	return protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
}

static __always_inline int flow_forward4(nf_ctx *ctx, struct ethhdr *eth, u32 port)
{
	struct iphdr *ip = nf_l3(ctx, sizeof(*ip) + sizeof(struct udphdr));
	u32 frame = hook_length(ctx);
	struct hook_wire wire;
	struct flow_key4 key;
	struct flow4 *flow;
	u32 length;
	u8 *l4;

	if (!ip || *(u8 *)ip != FLOW_IPV4_PLAIN || ip->frag_off & bpf_htons(FLOW_IPV4_FRAGMENT))
		return -1;
	l4 = (u8 *)(ip + 1);
	if (!flow_is_plain(ip->protocol, l4, (void *)(long)ctx->data_end))
		return -1;
	key.src = ip->saddr;
	key.dst = ip->daddr;
	key.ports = *(u32 *)l4;
	key.port = port;
	key.protocol = ip->protocol;
	flow = flow_find4(&key);
	length = hook_extent(ctx, bpf_ntohs(ip->tot_len), 0);
	if (length < sizeof(*ip) + flow_least(ip->protocol))
		return -1;
	hook_measure(ctx, &wire);
	if (!flow || !flow_fresh(&flow->action, wire.largest) || !flow_is_to(&flow->action, eth))
		return -1;
	if (frame != length + sizeof(*eth) && (frame > ETH_ZLEN || frame < length + sizeof(*eth)))
		return -1;
	if (flow->action.hops) {
		u16 *ttl_protocol = (u16 *)&ip->ttl;
		u16 before = *ttl_protocol;

		if (ip->ttl <= flow->action.hops || checksum_fold(checksum_ipv4(ip)))
			return -1;
		ip->ttl -= flow->action.hops;
		ip->check = checksum_update(ip->check, before, *ttl_protocol);
		__builtin_memcpy(eth, flow->action.macs, sizeof(flow->action.macs));
	}
	return flow_send(ctx, &flow->action, &wire);
}

static __always_inline int flow_forward6(nf_ctx *ctx, struct ethhdr *eth, u32 port)
{
	struct ipv6hdr *ip = nf_l3(ctx, sizeof(*ip) + sizeof(struct udphdr));
	u32 frame = hook_length(ctx);
	struct hook_wire wire;
	struct flow_key6 key;
	struct flow6 *flow;
	u32 length;
	u8 *l4;

	if (!ip || ip->version != 6)
		return -1;
	l4 = (u8 *)(ip + 1);
	if (!flow_is_plain(ip->nexthdr, l4, (void *)(long)ctx->data_end))
		return -1;
	__builtin_memcpy(key.src, &ip->saddr, 16);
	__builtin_memcpy(key.dst, &ip->daddr, 16);
	key.ports = *(u32 *)l4;
	key.port = port;
	key.protocol = ip->nexthdr;
	flow = flow_find6(&key);
	length = hook_extent(ctx, bpf_ntohs(ip->payload_len), sizeof(*ip));
	if (length < sizeof(*ip) + flow_least(ip->nexthdr))
		return -1;
	hook_measure(ctx, &wire);
	if (!flow || !flow_fresh(&flow->action, wire.largest) || !flow_is_to(&flow->action, eth))
		return -1;
	if (frame != length + sizeof(*eth) && (frame > ETH_ZLEN || frame < length + sizeof(*eth)))
		return -1;
	if (flow->action.hops) {
		if (ip->hop_limit <= flow->action.hops)
			return -1;
		ip->hop_limit -= flow->action.hops;
		__builtin_memcpy(eth, flow->action.macs, sizeof(flow->action.macs));
	}
	return flow_send(ctx, &flow->action, &wire);
}

/* Before parsing: what the program returns for a packet whose flow is known, or -1 if it has to walk. */
static __always_inline int flow_forward(nf_ctx *ctx, u32 port)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));
	__be16 ethertype;

	if (!eth)
		return -1;
	ethertype = hook_ethertype(ctx, eth);
	if (ethertype == bpf_htons(ETH_P_IP))
		return flow_forward4(ctx, eth, port);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return flow_forward6(ctx, eth, port);
	return -1;
}

/* Before the walk: what the cache must know of the packet as it came, and of the time. */
static __always_inline void flow_begin(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));

	pkt->epoch = flow_now();
	pkt->hops = 0;
	pkt->mtu = 0xffff;
	pkt->fleeting = !pkt->has_l4 || pkt->options || pkt->fragment != NF_FRAGMENT_NONE ||
			(pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP) ||
			(pkt->family == 6 &&
			 pkt->l4_offset != sizeof(struct ethhdr) + sizeof(struct ipv6hdr));
	if (eth)
		__builtin_memcpy(pkt->to, eth->h_dest, ETH_ALEN);
#pragma unroll
	for (int i = 0; i < NF_PATH_LENGTH; i++)
		pkt->counted[i] = 0;
}

/* The number under which a path is counted; numbers are handed out by each CPU from its own range. */
static __always_inline int flow_number(const struct flow_path *path, u32 *number)
{
	struct flow_numbers *numbers;
	u32 index = 0;
	u64 *known, fresh;

	known = nf_paths.lookup((struct flow_path *)path);
	if (known) {
		*number = *known;
		return 1;
	}
	numbers = nf_numbers.lookup(&index);
	if (!numbers || numbers->next >= FLOW_PATHS)
		return 0;
	fresh = bpf_get_smp_processor_id() * FLOW_PATHS + numbers->next;
	if (nf_paths.insert((struct flow_path *)path, &fresh))
		return 0;
	numbers->next++;
	*number = fresh;
	return 1;
}

/* Note what the walk has done; `eth` is the header that it leaves. */
static __always_inline void flow_act(struct flow_action *action, const struct nf_packet *pkt,
				     const struct ethhdr *eth, u32 number)
{
	__builtin_memcpy(action->to, pkt->to, ETH_ALEN);
	action->mtu = pkt->mtu;
	__builtin_memcpy(action->macs, eth, sizeof(action->macs));
	action->egress = pkt->egress;
	action->path = number;
	action->epoch = pkt->epoch;
	action->made = bpf_jiffies64();
	action->hops = pkt->hops;
}

static __always_inline void flow_keep4(const struct nf_packet *pkt, const struct ethhdr *eth,
				       u32 port, u32 number)
{
	struct flow_key4 key;
	struct flow4 *flow;

	key.src = pkt->src[0];
	key.dst = pkt->dst[0];
	key.ports = pkt->sport | (u32)pkt->dport << 16;
	key.port = port;
	key.protocol = pkt->protocol;
	key.used = 1;
	flow = flow_place4(&key);
	if (!flow)
		return;
	flow->key = key;
	flow_act(&flow->action, pkt, eth, number);
}

static __always_inline void flow_keep6(const struct nf_packet *pkt, const struct ethhdr *eth,
				       u32 port, u32 number)
{
	struct flow_key6 key;
	struct flow6 *flow;

	__builtin_memcpy(key.src, pkt->src, 16);
	__builtin_memcpy(key.dst, pkt->dst, 16);
	key.ports = pkt->sport | (u32)pkt->dport << 16;
	key.port = port;
	key.protocol = pkt->protocol;
	key.used = 1;
	flow = flow_place6(&key);
	if (!flow)
		return;
	flow->key = key;
	flow_act(&flow->action, pkt, eth, number);
}

/* After a walk that sends the packet on: the next one of its flow need not walk. */
static __always_inline void flow_keep(nf_ctx *ctx, const struct nf_packet *pkt, u32 port)
{
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));
	struct flow_path path = {};
	u32 number;

	if (pkt->fleeting || !eth)
		return;
	path.port = port;
	path.egress = pkt->egress;
#pragma unroll
	for (int i = 0; i < NF_PATH_LENGTH; i++)
		path.counted[i] = pkt->counted[i];
	if (!flow_number(&path, &number))
		return;
	if (pkt->family == 4)
		flow_keep4(pkt, eth, port, number);
	else
		flow_keep6(pkt, eth, port, number);
}

#endif /* NFV_FLOW_H */
