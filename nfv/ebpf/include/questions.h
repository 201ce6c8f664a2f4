/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Queries for a name server: which are plain enough to be looked up, and what they ask, as two hashes
 * of name, type and class. The name is read as it is, in any case, a word at a time.
 */
#include "nf.h"

#define SELF_NAME 96   /* bytes of a name, with the lengths of its labels */
#define SELF_LABELS 36 /* more than the 34 of an IPv6 address in ip6.arpa */
#define SELF_WORD 8    /* a name is read so many bytes at a time */
#define SELF_KIND 4    /* bytes of type and class, behind the name */
#define SELF_OPT_TYPE 41
#define SELF_COOKIE 10       /* option of RFC 7873 */
#define SELF_COOKIE_CLIENT 8 /* bytes of a client's part alone */
#define SELF_COOKIE_WHOLE 24 /* and with a server's as RFC 9018 has it */

/* RFC 1035, section 4.1.1; RFC 6840 for AD and CD. */
#define SELF_RD 0x0100
#define SELF_AD 0x0020
#define SELF_CD 0x0010
#define SELF_DO 0x80 /* in the first byte of the OPT record's flags (RFC 6891, section 6.1.2) */

/* Odd multipliers of the two hashes, with bits all over (nfv/services/dns/fastpath.py). */
#define SELF_MIX_PLACE 0x9e3779b97f4a7c15ull
#define SELF_MIX_PRINT 0xc2b2ae3d27d4eb4full

#define SELF_BYTES 0x0101010101010101ull

struct self_message {
	u16 id, flags, questions, counts[3]; /* of answer, authority, additional */
};

struct self_opt {
	u8 root;
	u8 type[2], payload[2];
	u8 rcode, version, flags[2];
	u8 length[2];
} __attribute__((packed));

struct self_cookie {
	u16 code, length;
	u64 client;
} __attribute__((packed));

struct self_server_cookie {
	u32 version, time;
	u64 hash;
} __attribute__((packed));

/* Written by the service; all zero as long as there is none, and then nothing is the server's. */
struct self_server {
	u8 mac[ETH_ALEN];
	u16 reserved;
	u32 epoch; /* of the zones; answers of another one are void */
	u32 mask;  /* of places */
	u64 seeds[2];
	u64 keys[2]; /* of cookies */
	u64 interval,
		burst; /* in parts of a jiffy: between answers to a network, and at once; or 0 */
	u32 buckets;   /* mask of their numbers */
	u32 slip;      /* of so many queries beyond the limit one is answered, truncated */
	u32 time;      /* of cookies, in seconds, network order */
	u32 reserved2;
};

/* What was found out about a query; lengths in bytes. */
struct self_query {
	u64 place, print; /* hashes of the question */
	u32 sum;          /* of the question */
	u32 name;         /* length */
	u32 rest;         /* behind the question */
	u64 client;       /* the client's part of a cookie */
	u64 cookie_hash;  /* the server's part */
	u32 cookie_version, cookie_time;
	u16 flags;
	u8 has_opt;
	u8 wants_dnssec;
	u32 cookie; /* length, or 0 */
};

BPF_F_TABLE("array", u32, struct self_server, self_server, 1, BPF_F_MMAPABLE);
BPF_TABLE("percpu_array", u32, struct self_query, self_queries, 1);

/* A to Z become a to z, all eight at once; lengths of labels are below. */
static __always_inline u64 self_lower(u64 word)
{
	u64 low = word & (SELF_BYTES * 0x7f);
	u64 from_a = low + SELF_BYTES * (0x80 - 'A'), above_z = low + SELF_BYTES * (0x7f - 'Z');
	u64 upper = (from_a ^ above_z) & ~word & (SELF_BYTES * 0x80);

	return word | upper >> 2;
}

static __always_inline u64 self_mix(u64 hash, u64 word, u64 factor)
{
	hash = (hash ^ word) * factor;
	return hash ^ hash >> 32;
}

static __always_inline void self_take(struct self_query *query, u64 word)
{
	query->place = self_mix(query->place, word, SELF_MIX_PLACE);
	query->print = self_mix(query->print, word, SELF_MIX_PRINT);
}

/* What a 32-bit sum adds to a checksum, for data that begins at an odd byte if `odd`. */
static __always_inline u32 self_turn(u64 sum, u32 odd)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return odd & 1 ? (sum & 0xff) << 8 | sum >> 8 : sum;
}

/* The length of the name at an offset; 0 if it is compressed, too long, or cut short. */
static __always_inline u32 self_measure(nf_ctx *ctx, u32 at)
{
	u32 length = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_LABELS; i++) {
		u8 *label = nf_at(ctx, at + length, 1);

		if (!label || *label > 63)
			return 0;
		if (!*label)
			return length + 1;
		length += *label + 1;
		if (length >= SELF_NAME)
			return 0;
	}
	return 0;
}

/* Hash and sum of the question; 0 if it is not one that is looked up. */
static __always_inline int self_read_question(nf_ctx *ctx, struct self_query *query, u32 at,
					      const struct self_server *server)
{
	u32 length = self_measure(ctx, at), *kind;
	u64 sum = 0, *word;

	if (length < SELF_WORD)
		return 0;
	query->name = length;
	query->place = server->seeds[0] ^ length;
	query->print = server->seeds[1] ^ length;
#pragma clang loop unroll(disable)
	for (u32 done = 0; done < SELF_NAME; done += SELF_WORD) {
		if (done + SELF_WORD > length)
			break;
		word = nf_at(ctx, at + done, SELF_WORD);
		if (!word)
			return 0;
		sum += (u32)*word + (*word >> 32);
		self_take(query, self_lower(*word));
	}
	if (length % SELF_WORD) { /* the last eight bytes, some of them for the second time */
		word = nf_at(ctx, at + length - SELF_WORD, SELF_WORD);
		if (!word)
			return 0;
		self_take(query, self_lower(*word));
		sum += (u32)(*word >> (SELF_WORD - length % SELF_WORD) * 8);
		sum += *word >> (SELF_WORD - length % SELF_WORD) * 8 >> 32;
	}
	kind = nf_at(ctx, at + length, SELF_KIND);
	if (!kind)
		return 0;
	self_take(query, *kind);
	query->sum = self_turn(sum, 0) + self_turn(*kind, length);
	return 1;
}

/* Whether all options of a query are a cookie. */
static __always_inline int self_read_cookie(nf_ctx *ctx, struct self_query *query, u32 at,
					    u32 length)
{
	struct self_cookie *option = nf_at(ctx, at, sizeof(*option));
	struct self_server_cookie *server;

	if (!option || option->code != bpf_htons(SELF_COOKIE))
		return 0;
	query->cookie = length - 4;
	query->client = option->client;
	if (option->length != bpf_htons(query->cookie))
		return 0;
	if (query->cookie == SELF_COOKIE_CLIENT)
		return 1;
	server = nf_at(ctx, at + sizeof(*option), sizeof(*server));
	if (!server || query->cookie != SELF_COOKIE_WHOLE)
		return 0;
	query->cookie_version = server->version;
	query->cookie_time = server->time;
	query->cookie_hash = server->hash;
	return 1;
}

/* Whether what follows the question is nothing, or an OPT record with nothing but a cookie. */
static __always_inline int self_read_opt(nf_ctx *ctx, struct self_query *query, u32 at)
{
	struct self_opt *opt = nf_at(ctx, at, sizeof(*opt));
	u32 length;

	query->wants_dnssec = 0;
	query->cookie = 0;
	if (!query->has_opt)
		return !query->rest;
	if (!opt || query->rest < sizeof(*opt))
		return 0;
	if (opt->root || opt->type[0] || opt->type[1] != SELF_OPT_TYPE || opt->version)
		return 0;
	length = opt->length[0] << 8 | opt->length[1];
	if (length != query->rest - sizeof(*opt))
		return 0;
	query->wants_dnssec = opt->flags[0] & SELF_DO;
	return !length || self_read_cookie(ctx, query, at + sizeof(*opt), length);
}

/* What the query asks, if it is one that can be looked up; `at` is where the message begins. */
static __always_inline int self_read(nf_ctx *ctx, const struct nf_packet *pkt,
				     struct self_query *query, u32 at,
				     const struct self_server *server)
{
	struct udphdr *udp = nf_at(ctx, pkt->l4_offset, sizeof(*udp) + sizeof(struct self_message));
	struct self_message *message = (void *)(udp + 1);
	u32 length = pkt->packet_length + sizeof(struct ethhdr) - pkt->l4_offset;
	const u16 ignored = bpf_htons(SELF_RD | SELF_AD | SELF_CD);

	if (!udp || bpf_ntohs(udp->len) != length)
		return 0;
	if (message->flags & ~ignored || message->questions != bpf_htons(1))
		return 0;
	if (message->counts[0] || message->counts[1] || message->counts[2] & ~bpf_htons(1))
		return 0;
	query->flags = message->flags & bpf_htons(SELF_RD | SELF_CD);
	query->has_opt = !!message->counts[2];
	at += sizeof(*message);
	if (!self_read_question(ctx, query, at, server))
		return 0;
	at += query->name + SELF_KIND;
	length += pkt->l4_offset;
	if (at > length)
		return 0;
	query->rest = length - at;
	return self_read_opt(ctx, query, at);
}
