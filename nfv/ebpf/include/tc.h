/* SPDX-License-Identifier: GPL-2.0 */
/* The hook of programs attached to the ingress of TC, in direct action (tcx). */
#ifndef NFV_TC_H
#define NFV_TC_H

#include <uapi/linux/pkt_cls.h>

typedef struct __sk_buff nf_ctx;

#define HOOK_DROP TC_ACT_SHOT
#define HOOK_WHOLE 0 /* whether every frame is one on the wire */

#define HOOK_LINEAR 1024 /* bytes from the start of a frame that functions may look at */
#define HOOK_HEADERS4 (sizeof(struct ethhdr) + sizeof(struct iphdr))
#define HOOK_HEADERS6 (sizeof(struct ethhdr) + sizeof(struct ipv6hdr))

/* Where a port leads to, from the namespace that programs run in. */
struct hook_device {
	u32 index; /* ifindex */
	u16 peer;  /* whether what is for `mac` may go straight to the other end of the veth */
	u8 mac[ETH_ALEN]; /* of that end */
};

/*
 * A member of the context. The verifier wants its offset in the instruction that loads it, where the
 * compiler may add it before.
 */
#define HOOK_READ(ctx, member)                                                                     \
	({                                                                                         \
		u64 __value;                                                                       \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                              \
			     : "=r"(__value)                                                       \
			     : "r"(ctx), "i"(offsetof(nf_ctx, member)));                           \
		__value;                                                                           \
	})

BPF_TABLE("array", u32, struct hook_device, nf_devices, 1);
BPF_PROG_ARRAY(nf_tc_jumps, 1);

/* Where the frame begins, and where the part of it ends that can be read. */
static __always_inline void *hook_data(nf_ctx *ctx)
{
	return (void *)HOOK_READ(ctx, data);
}

static __always_inline void *hook_end(nf_ctx *ctx)
{
	return (void *)HOOK_READ(ctx, data_end);
}

/* Whether all that a walk reads of a plain TCP or UDP packet can be reached. */
static __always_inline int hook_is_open(nf_ctx *ctx)
{
	struct ethhdr *eth = hook_data(ctx);
	void *end = hook_end(ctx);
	u8 protocol;

	if ((void *)eth + HOOK_HEADERS4 + sizeof(struct tcphdr) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if (ip->ihl != 5)
			return 0;
		protocol = ip->protocol;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)eth + HOOK_HEADERS6 + sizeof(struct tcphdr) > end)
			return 0;
		protocol = ip->nexthdr;
	} else {
		return 0;
	}
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

/* Before anything is read: bring together what functions may look at, if it lies in several places. */
static __always_inline void hook_open(nf_ctx *ctx)
{
	u32 linear = hook_end(ctx) - hook_data(ctx), length = HOOK_READ(ctx, len);

	if (linear < length && linear < HOOK_LINEAR && !hook_is_open(ctx))
		bpf_skb_pull_data(ctx, length < HOOK_LINEAR ? length : HOOK_LINEAR);
}

/* Bytes of the frame, with its tag. */
static __always_inline u64 hook_length(nf_ctx *ctx)
{
	return HOOK_READ(ctx, vlan_present) ? HOOK_READ(ctx, len) + HOOK_TAG : HOOK_READ(ctx, len);
}

/* Bytes that each segment of a frame begins with, or 0 if they cannot be told. */
static __always_inline u32 hook_headers(nf_ctx *ctx)
{
	struct ethhdr *eth = hook_data(ctx);
	void *end = hook_end(ctx);
	struct tcphdr *tcp;
	u32 headers;
	u8 protocol;

	if ((void *)eth + HOOK_HEADERS6 > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		headers = sizeof(*eth) + ip->ihl * 4;
		protocol = ip->protocol;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		headers = HOOK_HEADERS6;
		protocol = ip->nexthdr;
	} else {
		return 0;
	}
	if (protocol == IPPROTO_UDP)
		return headers + sizeof(struct udphdr);
	tcp = (void *)eth + headers;
	if (protocol != IPPROTO_TCP || (void *)(tcp + 1) > end)
		return 0;
	return headers + tcp->doff * 4;
}

/* What the kernel will make of the frame where it leaves for a wire. */
static __always_inline void hook_measure(nf_ctx *ctx, struct hook_wire *wire)
{
	u32 segment = HOOK_READ(ctx, gso_size), headers;

	wire->frames = 1;
	wire->bytes = hook_length(ctx);
	wire->largest = HOOK_READ(ctx, len) - sizeof(struct ethhdr);
	if (!segment)
		return;
	headers = hook_headers(ctx);
	if (!headers || headers >= HOOK_READ(ctx, len))
		return;
	wire->frames = (HOOK_READ(ctx, len) - headers + segment - 1) / segment;
	wire->bytes += (wire->frames - 1) * (headers + wire->bytes - HOOK_READ(ctx, len));
	wire->largest = headers + segment - sizeof(struct ethhdr);
}

/* The tag is what follows the MAC addresses on a wire. */
static __always_inline __be16 hook_ethertype(nf_ctx *ctx, const struct ethhdr *eth)
{
	return HOOK_READ(ctx, vlan_present) ? HOOK_READ(ctx, vlan_proto) : eth->h_proto;
}

/*
 * How long a packet is from what its IP header states, which is 0 where many segments together are
 * longer than it can state (BIG TCP). `header` is what the statement leaves out.
 */
static __always_inline u32 hook_extent(nf_ctx *ctx, u32 stated, u32 header)
{
	return stated || !HOOK_READ(ctx, gso_size) ? stated + header
						   : HOOK_READ(ctx, len) - sizeof(struct ethhdr);
}

/* Go on in the program at a place of the jump table; returns if there is none. */
static __always_inline void hook_jump(nf_ctx *ctx, u32 place)
{
	nf_tc_jumps.call(ctx, place);
}

/*
 * Send the frame to a port. Straight to the other end of a veth it goes as one for that station; any
 * other passes the veth, where the kernel looks at its MAC address again.
 */
static __always_inline int hook_send(nf_ctx *ctx, u32 port)
{
	struct hook_device *device = nf_devices.lookup(&port);
	u16 *to = hook_data(ctx), *own;

	if (!device || (void *)(to + 3) > hook_end(ctx))
		return HOOK_DROP;
	own = (u16 *)device->mac;
	if (device->peer && to[0] == own[0] && to[1] == own[1] && to[2] == own[2])
		return bpf_redirect_peer(device->index, 0);
	return bpf_redirect(device->index, 0);
}

/* Cut the frame to so many bytes, whole and of one segment; not 0 if that cannot be. */
static __always_inline int hook_trim(nf_ctx *ctx, u32 length)
{
	return bpf_skb_change_tail(ctx, length, 0);
}

/*
 * Make the frame longer by so many bytes. Returns how far all that is in it has to be moved to the front,
 * or -1 if that cannot be.
 */
static __always_inline int hook_lengthen(nf_ctx *ctx, u32 length)
{
	return bpf_skb_change_tail(ctx, HOOK_READ(ctx, len) + length, 0) ? -1 : 0;
}

/* Make room for so many bytes before the network header; what is in front is then undefined. */
static __always_inline int hook_insert(nf_ctx *ctx, u32 length)
{
	return bpf_skb_adjust_room(ctx, length, BPF_ADJ_ROOM_MAC, 0);
}

/* Put so many bytes in front of the frame, and take them off; what has them comes by XDP. */
static __always_inline int hook_push(nf_ctx *ctx, u32 length)
{
	return bpf_skb_change_head(ctx, length, 0);
}

static __always_inline int hook_pull(nf_ctx *ctx, u32 length)
{
	return -1;
}

/*
 * Update a transport checksum by what its complement gains: from the pseudo-header, and from what else it
 * covers. One that the kernel will complete covers the pseudo-header alone, and the kernel knows that. UDP
 * may have none, written as 0, and 0 is written as 0xffff (RFC 768). Pointers into the frame are void then.
 */
static __always_inline void hook_checksum(nf_ctx *ctx, u32 offset, int is_udp, u32 pseudo, u32 gain)
{
	u64 flags = is_udp ? BPF_F_MARK_MANGLED_0 : 0;

	if (pseudo)
		bpf_l4_csum_replace(ctx, offset, 0, pseudo, flags | BPF_F_PSEUDO_HDR);
	if (gain)
		bpf_l4_csum_replace(ctx, offset, 0, gain, flags);
}

/*
 * Tell the program that the frame goes to something about it: another one of this kind, by a tail call or
 * behind a veth of the fabric. Not 0 if that cannot be.
 */
static __always_inline int hook_tell(nf_ctx *ctx, u32 word)
{
	ctx->mark = word;
	return 0;
}

/* What this program was told, once. */
static __always_inline u32 hook_told(nf_ctx *ctx)
{
	u32 word = HOOK_READ(ctx, mark);

	ctx->mark = 0;
	return word;
}

/*
 * The first or second VLAN tag behind the MAC addresses (place 0, 1): protocol, ETH_P_8021Q or ETH_P_8021AD,
 * in the upper half, and what it says; 0 without one. A second tag has a first.
 */
static __always_inline u32 hook_tag_at(nf_ctx *ctx, u32 place)
{
	if (!HOOK_READ(ctx, vlan_present))
		return 0;
	if (place)
		return hook_read_tag(hook_data(ctx), hook_end(ctx), 2 * ETH_ALEN);
	return (u32)bpf_ntohs(HOOK_READ(ctx, vlan_proto)) << 16 | HOOK_READ(ctx, vlan_tci);
}

/* What the tag of IEEE 802.1Q says, or -1 without one. */
static __always_inline s32 hook_tag(nf_ctx *ctx)
{
	if (!HOOK_READ(ctx, vlan_present) || HOOK_READ(ctx, vlan_proto) != bpf_htons(ETH_P_8021Q))
		return -1;
	return HOOK_READ(ctx, vlan_tci) & 0xffff;
}

/* Put a tag in front of what follows the MAC addresses; take it; say something else by it. */
static __always_inline int hook_add_tag(nf_ctx *ctx, u16 protocol, u16 value)
{
	return bpf_skb_vlan_push(ctx, bpf_htons(protocol), value);
}

static __always_inline int hook_untag(nf_ctx *ctx)
{
	return bpf_skb_vlan_pop(ctx);
}

static __always_inline int hook_set_tag(nf_ctx *ctx, u16 value)
{
	return bpf_skb_vlan_pop(ctx) ? -1 : hook_add_tag(ctx, ETH_P_8021Q, value);
}

/* Send a copy into a device, by ifindex; XDP has a call for all copies instead. */
static __always_inline void hook_copy(nf_ctx *ctx, u32 index)
{
	bpf_clone_redirect(ctx, index, 0);
}

/*
 * Whether the checksum at an offset covers the pseudo-header alone, and the kernel will complete it. It
 * does not tell, but leaves such a checksum as it is when it is asked to take in a changed word.
 */
static __always_inline int hook_is_partial(nf_ctx *ctx, u32 offset)
{
	u16 before = 0, after = 0;

	bpf_skb_load_bytes(ctx, offset, &before, sizeof(before));
	bpf_l4_csum_replace(ctx, offset, 0, 1, sizeof(before));
	bpf_skb_load_bytes(ctx, offset, &after, sizeof(after));
	bpf_skb_store_bytes(ctx, offset, &before, sizeof(before), 0);
	return before == after;
}

#endif /* NFV_TC_H */
