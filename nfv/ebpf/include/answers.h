/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answers of a name server, ready to be put behind the question that they belong to.
 *
 * A place holds what follows the question in one answer. Compression pointers (RFC 1035, section 4.1.4)
 * count from the start of the message, so it fits every query with a question of the same length, and
 * as owners point to the question they are written as that is. The service writes a place while
 * programs read it: the fingerprint is 0 meanwhile, and looked at again when the answer is complete.
 */
#include "nf.h"
#include "checksum.h"
#include "questions.h"
#include "cookies.h"
#include "limits.h"

#define SELF_DATA 128     /* bytes of an answer behind its question */
#define SELF_PROBES 4     /* places that an answer may be in: two pairs, one leads to the other */
#define SELF_KEPT 192     /* bytes of a query's frame up to the end of its question, and more */
#define SELF_OPT 11       /* bytes of an OPT record without options (RFC 6891, section 6.1.2) */
#define SELF_PAYLOAD 1232 /* bytes that we take over UDP (RFC 9715) */
#define SELF_PORT 53
#define SELF_QR 0x8000
#define SELF_TC 0x0200

struct self_answer {
	u64 print;
	u32 epoch;
	u32 sum; /* of the data, as it adds to the checksum of the message */
	u16 length, flags, counts[3];
	u16 lasting; /* only another that lasts may take the place */
	u32 until;   /* jiffies; 0: as long as the epoch. Such a one is for plain queries only */
	u8 data[SELF_DATA];
};

BPF_F_TABLE("array", u32, struct self_answer, self_answers, 1, BPF_F_MMAPABLE);
BPF_TABLE("percpu_array", u32, struct self_answer, self_truncated, 1);

/* Whether an answer holds, and for this query. */
static __always_inline int self_holds(const struct self_query *query,
				      const struct self_answer *answer)
{
	if (!answer->until)
		return 1;
	if (query->wants_dnssec || query->flags & bpf_htons(SELF_CD))
		return 0;
	return (s32)(answer->until - (u32)bpf_jiffies64()) > 0;
}

/* The place of the answer, or NULL. */
static __always_inline struct self_answer *self_find(const struct self_query *query,
						     const struct self_server *server)
{
	u32 index = query->place >> 32, turn = query->print >> 32;

#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_PROBES; i++) {
		u32 place = (((i & 2 ? index ^ turn : index) & ~1u) | (i & 1)) & server->mask;
		struct self_answer *answer = self_answers.lookup(&place);

		if (!answer)
			return 0;
		if (answer->print == query->print && answer->epoch == server->epoch)
			return self_holds(query, answer) ? answer : 0;
	}
	return 0;
}

/* Move the first `keep` bytes of a frame, at least a word, to the front by `shift`; 0 if they are not. */
static __always_inline int self_move(nf_ctx *ctx, u32 shift, u32 keep)
{
	u64 *from = nf_at(ctx, shift + keep - SELF_WORD, SELF_WORD), *to, last;

	if (!from)
		return 0;
	last = *from; /* what is moved before may overwrite it */
#pragma clang loop unroll(disable)
	for (u32 done = 0; done < SELF_KEPT; done += SELF_WORD) {
		if (done + SELF_WORD > keep)
			break;
		from = nf_at(ctx, shift + done, SELF_WORD);
		to = nf_at(ctx, done, SELF_WORD);
		if (!from || !to)
			return 0;
		*to = *from;
	}
	to = nf_at(ctx, keep - SELF_WORD, SELF_WORD);
	if (!to)
		return 0;
	*to = last;
	return 1;
}

/* Make the frame as long as its answer; -1 if it is as it was, 0 if it is lost. */
static __always_inline int self_resize(nf_ctx *ctx, const struct nf_packet *pkt, u32 length,
				       u32 keep)
{
	u32 before = pkt->frame_length;
	int shift;

	if (length <= before)
		return hook_trim(ctx, length) ? -1 : 1;
	shift = hook_lengthen(ctx, length - before);
	if (shift <= 0)
		return shift ? -1 : 1;
	return self_move(ctx, shift, keep);
}

/* Put the answer's data behind the question; 0 if the frame has no room. */
static __always_inline int self_copy(nf_ctx *ctx, u32 at, const struct self_answer *answer)
{
	u32 length = answer->length, done = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_DATA / SELF_WORD; i++) {
		u64 *word = nf_at(ctx, at + i * SELF_WORD, SELF_WORD);

		if ((i + 1) * SELF_WORD > length)
			break;
		if (!word)
			return 0;
		*word = *(u64 *)(answer->data + i * SELF_WORD);
		done = (i + 1) * SELF_WORD;
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_WORD - 1; i++) {
		u8 *byte = nf_at(ctx, at + done, 1);

		if (done >= length || done >= SELF_DATA)
			break;
		if (!byte)
			return 0;
		*byte = answer->data[done];
		done++;
	}
	return done == length;
}

/* Bytes of our OPT record. */
static __always_inline u32 self_opt_length(const struct self_query *query)
{
	if (!query->has_opt)
		return 0;
	return query->cookie ? SELF_OPT + 4 + SELF_COOKIE_WHOLE : SELF_OPT;
}

/* What the record without options adds to a sum, if it begins at an even byte. */
static __always_inline u32 self_sum_opt(const struct self_query *query)
{
	return SELF_OPT_TYPE + (SELF_PAYLOAD >> 8 << 8) + (SELF_PAYLOAD & 0xff) +
	       ((u32)query->wants_dnssec << 8) + (self_opt_length(query) - SELF_OPT);
}

/*
 * Our OPT record: version 0, DO as it came (RFC 3225), and a cookie if one came; `sum` takes in what it
 * adds, for a message in which it begins at an odd byte if `odd`. 0 if the frame has no room.
 */
static __always_inline int self_write_opt(nf_ctx *ctx, const struct nf_packet *pkt,
					  const struct self_query *query, u32 at, u32 odd,
					  const struct self_server *server, u64 *sum)
{
	struct self_opt *opt = nf_at(ctx, at, sizeof(*opt));
	u64 cookie;

	if (!opt)
		return 0;
	__builtin_memset(opt, 0, sizeof(*opt));
	opt->type[1] = SELF_OPT_TYPE;
	opt->payload[0] = SELF_PAYLOAD >> 8;
	opt->payload[1] = SELF_PAYLOAD & 0xff;
	opt->flags[0] = query->wants_dnssec;
	opt->length[1] = self_opt_length(query) - SELF_OPT;
	*sum += self_turn(self_sum_opt(query), odd);
	if (!query->cookie)
		return 1;
	cookie = self_write_cookie(ctx, pkt, query, at + SELF_OPT, server);
	*sum += self_turn(cookie, odd + 1);
	return !!cookie;
}

/* Turn the link and network headers round; the sum of the pseudo-header without its length. */
static __always_inline u64 self_return4(struct ethhdr *eth, u32 length)
{
	struct iphdr *ip = (void *)(eth + 1);
	u32 source = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = source;
	ip->tot_len = bpf_htons(length + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000); /* don't fragment: then no id is needed (RFC 6864) */
	ip->ttl = 64;
	ip->check = 0;
	ip->check = checksum_fold(checksum_ipv4(ip));
	return (u64)ip->saddr + ip->daddr;
}

static __always_inline u64 self_return6(struct ethhdr *eth, u32 length)
{
	struct ipv6hdr *ip = (void *)(eth + 1);
	u32 *source = (u32 *)&ip->saddr, *target = (u32 *)&ip->daddr;
	u64 sum = 0;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		u32 word = source[i];

		source[i] = target[i];
		target[i] = word;
		sum += (u64)source[i] + target[i];
	}
	ip->payload_len = bpf_htons(length);
	ip->hop_limit = 64;
	return sum;
}

static __always_inline void self_swap_macs(struct ethhdr *eth)
{
	u16 *to = (u16 *)eth->h_dest, *from = (u16 *)eth->h_source;

#pragma unroll
	for (int i = 0; i < 3; i++) {
		u16 half = to[i];

		to[i] = from[i];
		from[i] = half;
	}
}

/* The headers of the answer, with all checksums; `sum` is what follows the message's header. */
static __always_inline int self_write_headers(nf_ctx *ctx, const struct nf_packet *pkt,
					      const struct self_query *query,
					      const struct self_answer *answer, u32 length, u64 sum)
{
	u32 at = pkt->l4_offset;
	int partial = hook_is_partial(ctx, at + 6);
	struct udphdr *udp = nf_at(ctx, at, sizeof(*udp) + sizeof(struct self_message));
	struct self_message *message = (void *)(udp + 1);
	struct ethhdr *eth;
	u64 pseudo;
	u16 port;

	if (!udp)
		return 0;
	message->flags = answer->flags | query->flags;
	message->counts[0] = answer->counts[0];
	message->counts[1] = answer->counts[1];
	message->counts[2] = answer->counts[2] + bpf_htons(query->has_opt);
	port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	udp->len = bpf_htons(length);
	sum += (u32)udp->source + udp->dest + udp->len;
	sum += (u32)message->id + message->flags + message->questions;
	sum += (u32)message->counts[0] + message->counts[1] + message->counts[2];
	eth = nf_at(ctx, 0, sizeof(*eth) + sizeof(struct ipv6hdr));
	if (!eth)
		return 0;
	self_swap_macs(eth);
	pseudo = pkt->family == 4 ? self_return4(eth, length) : self_return6(eth, length);
	pseudo += bpf_htons(IPPROTO_UDP) + bpf_htons(length);
	udp = nf_at(ctx, at, sizeof(*udp));
	if (!udp)
		return 0;
	if (partial) {
		udp->check = self_turn(pseudo, 0);
		return 1;
	}
	udp->check = ~self_turn(pseudo + sum, 0);
	if (!udp->check)
		udp->check = 0xffff;
	return 1;
}

/* Make the frame the answer to its query. NF_NEXT if it is as it was. */
static __always_inline int self_build(nf_ctx *ctx, struct nf_packet *pkt,
				      const struct self_query *query,
				      const struct self_answer *answer, u32 at,
				      const struct self_server *server)
{
	u32 data = answer->length, begin = sizeof(struct self_message) + query->name + SELF_KIND;
	u32 length = begin + data + self_opt_length(query);
	u64 sum = (u64)query->sum + answer->sum;
	int resized;

	if (data > SELF_DATA)
		return NF_NEXT;
	resized = self_resize(ctx, pkt, at + length, at + begin);
	if (resized < 0)
		return NF_NEXT;
	if (!resized)
		return nf_drop(pkt, NF_REASON_NONE);
	if (!self_copy(ctx, at + begin, answer))
		return nf_drop(pkt, NF_REASON_NONE);
	if (query->has_opt &&
	    !self_write_opt(ctx, pkt, query, at + begin + data, query->name + data, server, &sum))
		return nf_drop(pkt, NF_REASON_NONE);
	length += sizeof(struct udphdr);
	if (!self_write_headers(ctx, pkt, query, answer, length, sum))
		return nf_drop(pkt, NF_REASON_NONE);
	/* The service was writing the place meanwhile: who asked will ask again. */
	if (*(volatile u64 *)&answer->print != query->print)
		return nf_drop(pkt, NF_REASON_NONE);
	return nf_answer(pkt, NF_REASON_ANSWERED);
}

/* An answer without records that sends the client to TCP. */
static __always_inline struct self_answer *self_truncate(const struct self_query *query)
{
	u32 index = 0;
	struct self_answer *answer = self_truncated.lookup(&index);

	if (answer) {
		answer->print = query->print;
		answer->length = 0;
		answer->flags = bpf_htons(SELF_QR | SELF_TC);
	}
	return answer;
}

/* Answer a query whose answer is known; NF_NEXT if it is not, or the packet is no plain query. */
static __always_inline int self_answer(nf_ctx *ctx, struct nf_packet *pkt,
				       const struct self_server *server)
{
	u32 header = pkt->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	u32 at = pkt->l4_offset + sizeof(struct udphdr), index = 0;
	struct self_query *query = self_queries.lookup(&index);
	int limited, readable = 0;
	struct self_answer *answer;
	struct iphdr *ip;

	if (pkt->protocol != IPPROTO_UDP || pkt->dport != bpf_htons(SELF_PORT) || !pkt->has_l4 ||
	    !query)
		return NF_NEXT;
	if (pkt->fragment == NF_FRAGMENT_NONE && pkt->l4_offset == sizeof(struct ethhdr) + header) {
		ip = nf_l3(ctx, sizeof(*ip));
		if (!ip)
			return NF_NEXT;
		if (pkt->family == 4 && checksum_fold(checksum_ipv4(ip)))
			return nf_drop(pkt, NF_REASON_CHECKSUM);
		readable = self_read(ctx, pkt, query, at, server);
	}
	limited = self_limit(pkt, server);
	if (limited && !(readable && self_is_known(pkt, query, server))) {
		if (!readable || limited == 1)
			return nf_drop(pkt, NF_REASON_LIMITED);
		answer = self_truncate(query);
	} else {
		answer = readable ? self_find(query, server) : 0;
	}
	if (!answer)
		return NF_NEXT;
	return self_build(ctx, pkt, query, answer, at, server);
}
