/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DNS cookies (RFC 7873), the server's part as RFC 9018 has it: by SipHash-2-4 of the client's part, a
 * time and the client's address. Who shows a valid one is at that address.
 */
#include "nf.h"
#include "questions.h"

#define SELF_COOKIE_VERSION 1u /* and three reserved bytes, in network order */
#define SELF_COOKIE_AGE 3600   /* seconds for which a cookie is valid (RFC 9018, section 4.3) */
#define SELF_COOKIE_AHEAD 300  /* and how far ahead of our clock it may be */

struct self_sip {
	u64 v0, v1, v2, v3;
};

#define SELF_ROTATE(value, bits) ((value) << (bits) | (value) >> (64 - (bits)))

static __always_inline void self_sip_round(struct self_sip *sip)
{
	sip->v0 += sip->v1;
	sip->v1 = SELF_ROTATE(sip->v1, 13) ^ sip->v0;
	sip->v0 = SELF_ROTATE(sip->v0, 32);
	sip->v2 += sip->v3;
	sip->v3 = SELF_ROTATE(sip->v3, 16) ^ sip->v2;
	sip->v0 += sip->v3;
	sip->v3 = SELF_ROTATE(sip->v3, 21) ^ sip->v0;
	sip->v2 += sip->v1;
	sip->v1 = SELF_ROTATE(sip->v1, 17) ^ sip->v2;
	sip->v2 = SELF_ROTATE(sip->v2, 32);
}

static __always_inline void self_sip_take(struct self_sip *sip, u64 word)
{
	sip->v3 ^= word;
	self_sip_round(sip);
	self_sip_round(sip);
	sip->v0 ^= word;
}

/* The hash of a cookie that was made at some time (in network order) for the packet's sender. */
static __always_inline u64 self_cookie_hash(const struct nf_packet *pkt, u64 client, u32 time,
					    const struct self_server *server)
{
	const u32 *from = pkt->src;
	struct self_sip sip = {
		server->keys[0] ^ 0x736f6d6570736575ull,
		server->keys[1] ^ 0x646f72616e646f6dull,
		server->keys[0] ^ 0x6c7967656e657261ull,
		server->keys[1] ^ 0x7465646279746573ull,
	};

	self_sip_take(&sip, client);
	self_sip_take(&sip, SELF_COOKIE_VERSION | (u64)time << 32);
	if (pkt->family == 4) {
		self_sip_take(&sip, from[0] | 20ull << 56);
	} else {
		self_sip_take(&sip, from[0] | (u64)from[1] << 32);
		self_sip_take(&sip, from[2] | (u64)from[3] << 32);
		self_sip_take(&sip, 32ull << 56);
	}
	sip.v2 ^= 0xff;
#pragma unroll
	for (int i = 0; i < 4; i++)
		self_sip_round(&sip);
	return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}

/* Whether a query has a cookie of ours that was made for its sender, and not long ago. */
static __always_inline int self_is_known(const struct nf_packet *pkt,
					 const struct self_query *query,
					 const struct self_server *server)
{
	u32 age = bpf_ntohl(server->time) - bpf_ntohl(query->cookie_time);

	if (query->cookie != SELF_COOKIE_WHOLE || query->cookie_version != SELF_COOKIE_VERSION)
		return 0;
	if (age + SELF_COOKIE_AHEAD > SELF_COOKIE_AGE + SELF_COOKIE_AHEAD)
		return 0;
	return query->cookie_hash ==
	       self_cookie_hash(pkt, query->client, query->cookie_time, server);
}

/* Write the option with both parts; what it adds to a sum if it begins at an even byte, 0: no room. */
static __always_inline u64 self_write_cookie(nf_ctx *ctx, const struct nf_packet *pkt,
					     const struct self_query *query, u32 at,
					     const struct self_server *server)
{
	struct self_server_cookie *made;
	struct self_cookie *option;
	u64 hash = self_cookie_hash(pkt, query->client, server->time, server);

	option = nf_at(ctx, at, sizeof(*option) + sizeof(*made));
	if (!option)
		return 0;
	made = (void *)(option + 1);
	option->code = bpf_htons(SELF_COOKIE);
	option->length = bpf_htons(SELF_COOKIE_WHOLE);
	option->client = query->client;
	made->version = SELF_COOKIE_VERSION;
	made->time = server->time;
	made->hash = hash;
	return (u64)option->code + option->length + (u32)query->client + (query->client >> 32) +
	       made->version + made->time + (u32)hash + (hash >> 32);
}
