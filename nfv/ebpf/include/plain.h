/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Plain packets: UDP, or TCP in the middle of a connection, over IPv4 without options or fragments, or
 * over IPv6 without extension headers. They are nearly all there are, and a few loads tell them.
 */
#ifndef NFV_PLAIN_H
#define NFV_PLAIN_H

#include "nf.h"

#define PLAIN_TCP_FLAGS 0x17 /* FIN, SYN, RST, ACK */
#define PLAIN_TCP_ACK 0x10
#define PLAIN_TCP_BYTES 14    /* of a TCP header, up to its flags */
#define PLAIN_IPV4 0x45       /* version 4, no options */
#define PLAIN_FRAGMENT 0xff3f /* offset, and that more follow, as they lie in memory */
#define PLAIN_IPV6 0x60       /* version 6: the upper half of the first byte */
#define PLAIN_IPV6_MASK 0xf0

#define PLAIN_ETHERTYPE 12 /* from the start of the frame; so the others */
#define PLAIN_IP 14
#define PLAIN_L4 34
#define PLAIN_L4_IPV6 54
#define PLAIN_BYTES 42 /* to the end of the ports and what follows them in UDP */
#define PLAIN_BYTES_IPV6 62

/*
 * The upper half of a flow's name, next to its ports: the epoch of the tables, shifted so that 13 bits
 * are free, and the port where it came in. The lowest bit is the protocol's: 6 is even, 17 is odd.
 */
#define PLAIN_NAME(epoch, port) ((u64)(epoch) | (u64)(port) << 1)

/* What an IPv4 header says, in words as they lie in memory. */
struct plain4 {
	u64 addresses; /* source, destination */
	u64 name;      /* ports, and PLAIN_NAME */
	u64 first;     /* version, TOS, length */
	u64 second;    /* identification, fragment */
	u64 third;     /* TTL, protocol, checksum */
	u64 length;    /* of the packet */
};

struct plain6 {
	u64 addresses[4]; /* source, destination */
	u64 name;
	u64 length;
	u64 protocol;
	u64 hop_limit;
};

/* TCP with ACK and without FIN, SYN or RST, or UDP; `length` bytes, of which at least 8 are there. */
static __always_inline int plain_l4(const u8 *l4, const void *data_end, u64 protocol, u64 length)
{
	if (protocol == IPPROTO_UDP)
		return 1;
	return protocol == IPPROTO_TCP && length >= sizeof(struct tcphdr) &&
	       (void *)(l4 + PLAIN_TCP_BYTES) <= data_end &&
	       (l4[13] & PLAIN_TCP_FLAGS) == PLAIN_TCP_ACK;
}

/*
 * Whether nothing follows the packet but the padding of a minimal frame, and it has room for its
 * headers: `least` bytes, which the frame has.
 */
static __always_inline int plain_length(u64 frame, u64 length, u64 least)
{
	if (frame == length)
		return 1;
	return frame <= ETH_ZLEN && frame > length && length >= least;
}

/* Whether a frame with PLAIN_BYTES is IPv4 without options, with nothing behind it; read its header. */
static __always_inline int plain_header4(nf_ctx *ctx, const u8 *frame, struct plain4 *plain)
{
	const u8 *ip = frame + PLAIN_IP;

	plain->first = *(u32 *)ip;
	plain->second = *(u32 *)(ip + 4);
	plain->third = *(u32 *)(ip + 8);
	plain->addresses = *(u64 *)(ip + 12);
	plain->length = hook_extent(ctx, bpf_ntohs(plain->first >> 16), 0);
	return (plain->first & 0xff) == PLAIN_IPV4 &&
	       plain_length(hook_length(ctx), plain->length + PLAIN_IP, PLAIN_BYTES);
}

/* Whether it is plain besides; `name` is PLAIN_NAME. */
static __always_inline int plain_read4(nf_ctx *ctx, const u8 *frame, u64 name, struct plain4 *plain)
{
	u64 protocol;

	if (!plain_header4(ctx, frame, plain) || plain->second >> 16 & PLAIN_FRAGMENT)
		return 0;
	protocol = plain->third >> 8 & 0xff;
	plain->name = (name | (protocol & 1)) << 32 | *(u32 *)(frame + PLAIN_L4);
	return plain_l4(frame + PLAIN_L4, hook_end(ctx), protocol,
			plain->length - sizeof(struct iphdr));
}

/* Whether a frame with PLAIN_BYTES_IPV6 is IPv6 without extension headers, with nothing behind it. */
static __always_inline int plain_header6(nf_ctx *ctx, const u8 *frame, struct plain6 *plain)
{
	const u8 *ip = frame + PLAIN_IP;

	plain->protocol = ip[6];
	plain->hop_limit = ip[7];
	plain->length = hook_extent(ctx, bpf_ntohs(*(u16 *)(ip + 4)), sizeof(struct ipv6hdr));
	return (ip[0] & PLAIN_IPV6_MASK) == PLAIN_IPV6 &&
	       (plain->protocol == IPPROTO_UDP || plain->protocol == IPPROTO_TCP ||
		plain->protocol == IPPROTO_ICMPV6) &&
	       plain_length(hook_length(ctx), plain->length + PLAIN_IP, PLAIN_BYTES_IPV6);
}

/* Whether it is plain besides; `name` is PLAIN_NAME. */
static __always_inline int plain_read6(nf_ctx *ctx, const u8 *frame, u64 name, struct plain6 *plain)
{
	const u8 *ip = frame + PLAIN_IP;

	if (!plain_header6(ctx, frame, plain))
		return 0;
	plain->addresses[0] = *(u64 *)(ip + 8);
	plain->addresses[1] = *(u64 *)(ip + 16);
	plain->addresses[2] = *(u64 *)(ip + 24);
	plain->addresses[3] = *(u64 *)(ip + 32);
	plain->name = (name | (plain->protocol & 1)) << 32 | *(u32 *)(frame + PLAIN_L4_IPV6);
	return plain_l4(frame + PLAIN_L4_IPV6, hook_end(ctx), plain->protocol,
			plain->length - sizeof(struct ipv6hdr));
}

/*
 * Whether the checksum of the header is right: then its words add up to 0xffff (RFC 1071). A sum of
 * five words of 32 bits is small enough to be folded twice: what is left to carry is no 0xffff.
 */
static __always_inline int plain_is_sound4(const struct plain4 *plain)
{
	u64 sum = (plain->addresses >> 32) + (u32)plain->addresses + plain->first + plain->second +
		  plain->third;

	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return sum == 0xffff;
}

#endif /* NFV_PLAIN_H */
