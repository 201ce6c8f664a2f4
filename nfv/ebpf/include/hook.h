/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the places where a program can be attached. XDP sees frames as a device has
 * them. TC (NFV_TC is defined) sees what sockets send as the kernel holds it: a frame may stand for many
 * on the wire (segmentation offload), a transport checksum may lack all but the pseudo-header, what
 * follows the headers may lie elsewhere, and a VLAN tag is beside the frame.
 */
#ifndef NFV_HOOK_H
#define NFV_HOOK_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/icmp.h>
#include <uapi/linux/icmpv6.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

#include "checksum.h"

/* What goes over the wire for one frame. */
struct hook_wire {
	u64 frames;
	u64 bytes;   /* of all of them */
	u64 largest; /* of them, from the IP header on */
};

#define HOOK_TAG 4 /* bytes of a VLAN tag */

/*
 * The VLAN tag at an offset of the bytes from `data` to `end`: its protocol, ETH_P_8021Q or ETH_P_8021AD,
 * in the upper half, and what it says; 0 if there is none.
 */
static __always_inline u32 hook_read_tag(const void *data, const void *end, u32 offset)
{
	const u16 *tag = data + offset;

	if ((void *)(tag + 2) > end ||
	    (tag[0] != bpf_htons(ETH_P_8021Q) && tag[0] != bpf_htons(ETH_P_8021AD)))
		return 0;
	return (u32)bpf_ntohs(tag[0]) << 16 | bpf_ntohs(tag[1]);
}

#ifdef NFV_TC
#include "tc.h"
#else
#include "xdp.h"
#endif

#endif /* NFV_HOOK_H */
