/* SPDX-License-Identifier: GPL-2.0 */
/* The Internet checksum (RFC 1071) and its update by increment (RFC 1624), without helper calls. */
#ifndef NFV_CHECKSUM_H
#define NFV_CHECKSUM_H

#include <uapi/linux/ip.h>

/* The complement of a sum, as a checksum field holds it. */
static __always_inline u16 checksum_fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* What a checksum's complement gains when one word becomes another (RFC 1624, equation 3). */
static __always_inline u32 checksum_change(u32 before, u32 after)
{
	before = ~before;
	return (before & 0xffff) + (before >> 16) + (after & 0xffff) + (after >> 16);
}

/* A checksum whose complement gains as much. */
static __always_inline u16 checksum_gain(u16 checksum, u32 gain)
{
	return checksum_fold((u16)~checksum + gain);
}

/* The sum over an IPv4 header without options: it folds to 0 if the header's checksum is right. */
static __always_inline u32 checksum_ipv4(const struct iphdr *ip)
{
	const u16 *half = (const u16 *)ip;
	u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += half[i];
	return sum;
}

#endif /* NFV_CHECKSUM_H */
