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

#ifdef NFV_TC
#include "tc.h"
#else
#include "xdp.h"
#endif

#endif /* NFV_HOOK_H */
