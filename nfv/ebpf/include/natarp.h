/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ARP for outside addresses that no host has (RFC 826): who asks from outside is told the MAC address of
 * who is inside, which takes what is sent there as its own; who asks from inside, an address that stands
 * for this NAT, which turns such packets back. Who has the masquerade address answers for itself.
 */
#include "natedit.h"
#include "natplan.h"

#define SELF_ARP_REQUEST 1
#define SELF_ARP_REPLY 2

/* RFC 826 for Ethernet and IPv4. Halves, since addresses are not aligned. */
struct self_arp {
	u16 hardware, protocol, sizes, operation;
	u16 sender_mac[3], sender[2];
	u16 target_mac[3], target[2];
};

/* Locally administered: no device has it. */
static __always_inline void self_own_mac(u16 *mac)
{
	mac[0] = bpf_htons(0x026e);
	mac[1] = bpf_htons(0x6174);
	mac[2] = bpf_htons(0x0001);
}

static __always_inline void self_copy_mac(u16 *to, const u16 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
}

/* Exchange the two MAC addresses that a frame begins with. */
static __always_inline void self_turn(u16 *macs)
{
#pragma unroll
	for (int i = 0; i < 3; i++) {
		u16 other = macs[i];

		macs[i] = macs[i + 3];
		macs[i + 3] = other;
	}
}

/* Whether a request is for an address that this NAT answers for. */
static __always_inline int self_is_asked(const struct self_image *plan, const struct self_arp *arp)
{
	u32 target = arp->target[0] | (u32)arp->target[1] << 16;
	u32 sender = arp->sender[0] | (u32)arp->sender[1] << 16;

	return arp->hardware == bpf_htons(1) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->sizes == bpf_htons(0x0604) && arp->operation == bpf_htons(SELF_ARP_REQUEST) &&
	       target != sender && bpf_ntohl(target) != self_here()->masquerade &&
	       self_is_outside(plan, target);
}

static __always_inline int self_arp(nf_ctx *ctx, struct nf_packet *pkt,
				    const struct self_image *plan, u32 way)
{
	const u16 *inside = (const u16 *)self_here()->inside;
	struct self_arp *arp = nf_at(ctx, sizeof(struct ethhdr), sizeof(*arp));
	u16 *eth = nf_at(ctx, 0, sizeof(struct ethhdr)), mac[3], target[2];

	if (!arp || !eth || !self_is_asked(plan, arp))
		return self_count(pkt, SELF_UNTRANSLATED);
	self_own_mac(mac);
	if (way == NF_DIR_REVERSE)
		self_copy_mac(mac, inside);
	if (!(mac[0] | mac[1] | mac[2]))
		return self_count(pkt, SELF_UNTRANSLATED);
	target[0] = arp->target[0];
	target[1] = arp->target[1];
	self_copy_mac(eth, arp->sender_mac);
	self_copy_mac(eth + 3, mac);
	self_copy_mac(arp->target_mac, arp->sender_mac);
	self_copy_mac(arp->sender_mac, mac);
	arp->target[0] = arp->sender[0];
	arp->target[1] = arp->sender[1];
	arp->sender[0] = target[0];
	arp->sender[1] = target[1];
	arp->operation = bpf_htons(SELF_ARP_REPLY);
	return nf_answer(pkt, NF_REASON_ANSWERED);
}
