/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What was found out of a datagram by its first fragment, for the later ones, which have no ports
 * (RFC 1858).
 */
#include "nf.h"

struct self_datagram {
	u32 src[4], dst[4];
	u32 id;
	u32 protocol; /* of IPv4, and family times 256 */
};

BPF_TABLE("lru_hash", struct self_datagram, u32, self_datagrams, 1);

/* What fragments share (RFC 791, section 3.2); in IPv6 not the protocol (RFC 8200, section 4.5). */
static __always_inline void self_datagram(struct self_datagram *key, const struct nf_packet *pkt)
{
	key->id = pkt->fragment_id;
	if (pkt->family == 4) {
		key->src[0] = pkt->src[0];
		key->dst[0] = pkt->dst[0];
		key->protocol = 4 * 256 + pkt->protocol;
		return;
	}
	__builtin_memcpy(key->src, pkt->src, 16);
	__builtin_memcpy(key->dst, pkt->dst, 16);
	key->protocol = 6 * 256;
}

/* Keep a number for the later fragments of a first one. */
static __always_inline void self_note_datagram(const struct nf_packet *pkt, u32 number)
{
	struct self_datagram key = {};

	self_datagram(&key, pkt);
	self_datagrams.update(&key, &number);
}

/* The number kept for a later fragment's datagram, or NULL. */
static __always_inline u32 *self_noted_datagram(const struct nf_packet *pkt)
{
	struct self_datagram key = {};

	self_datagram(&key, pkt);
	return self_datagrams.lookup(&key);
}
