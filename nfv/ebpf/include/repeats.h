/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Answers that are given again. A client that renews, rebinds or starts again sends what it has sent
 * before but for the transaction and the time; it is told what it was told before, as long as its address
 * is kept for it on the disk at least for the time that the answer promises.
 *
 * The service writes the answers (nfv/services/dhcp/repeats.py) and reads when each address was promised
 * last.
 */
#include "nf.h"
#include "checksum.h"

#define SELF_REPLY 592    /* bytes of an answer's frame at most: a multiple of SELF_CHUNK */
#define SELF_CHUNK 8      /* bytes that are copied at a time */
#define SELF_COMPARED 140 /* words of a message that are compared, behind its first 12 bytes */
#define SELF_MIX 0x9e3779b97f4a7c15ull

/* From the start of the frame: IPv4 without options, UDP, a BOOTP message (RFC 951). */
#define SELF_HEADERS 34
#define SELF_CHECKSUM 40
#define SELF_MESSAGE 42
#define SELF_FIXED 12 /* bytes of the message: op to hops, transaction, seconds, flags */

struct self_fixed {
	u32 kind; /* op, htype, hlen, hops */
	u16 xid[2];
	u16 secs;
	u16 flags;
};

/* A message, by what tells it from others. */
struct self_asked {
	u64 digest;
	u32 stage;  /* where the client is */
	u32 length; /* of the message */
	u8 mac[ETH_ALEN];
	u16 reserved;
};

struct self_repeat {
	u32 lease;    /* place in self_leases */
	u32 address;  /* that the place is to have */
	u64 promised; /* nanoseconds */
	u32 length;   /* of the frame */
	u16 partial;  /* the UDP checksum where the kernel completes it: the pseudo-header's sum */
	u16 extends;  /* whether the client may use the address from now on */
	u8 frame[SELF_REPLY]; /* transaction 0 */
};

/* An address that a client has. Times are of the clock that goes on while the machine sleeps, in ns. */
struct self_lease {
	u64 held; /* nobody else gets the address before, whatever happens */
	u64 seen; /* when it was last promised here */
	u32 address;
	u32 seconds; /* for how long */
};

BPF_TABLE("lru_hash", struct self_asked, struct self_repeat, self_repeats, 1);
BPF_F_TABLE("array", u32, struct self_lease, self_leases, 1, BPF_F_MMAPABLE);

static __always_inline u64 self_mix(u64 digest, u32 word)
{
	digest = (digest ^ word) * SELF_MIX;
	return digest ^ digest >> 29;
}

/* The digest of a message behind its fixed part, which is a whole number of words; 0 if it is cut. */
static __always_inline int self_digest(nf_ctx *ctx, u32 length, u64 *digest)
{
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < SELF_COMPARED; i++) {
		u32 *word;

		if (SELF_FIXED + i * sizeof(*word) >= length)
			return 1;
		word = nf_at(ctx, SELF_MESSAGE + SELF_FIXED + i * sizeof(*word), sizeof(*word));
		if (!word)
			return 0;
		*digest = self_mix(*digest, *word);
	}
	return SELF_FIXED + SELF_COMPARED * sizeof(u32) >= length;
}

/* What the client asks; 0 if it is nothing that can have been answered here. */
static __always_inline int self_ask(nf_ctx *ctx, const struct nf_packet *pkt,
				    struct self_asked *asked)
{
	u32 length = pkt->packet_length + sizeof(struct ethhdr) - SELF_MESSAGE;
	struct self_fixed *fixed = nf_at(ctx, SELF_MESSAGE, sizeof(*fixed));
	struct ethhdr *eth = nf_at(ctx, 0, sizeof(*eth));

	if (!fixed || !eth || pkt->options || length % sizeof(u32))
		return 0;
	asked->digest = self_mix(self_mix(SELF_MIX, fixed->kind), fixed->flags);
	asked->stage = pkt->stage;
	asked->length = length;
	__builtin_memcpy(asked->mac, eth->h_source, ETH_ALEN);
	asked->reserved = 0;
	return self_digest(ctx, length, &asked->digest);
}

/* Whether the address is kept for as long as the answer promises; if it extends that, note when. */
static __always_inline int self_promise(const struct self_repeat *repeat)
{
	u32 place = repeat->lease;
	struct self_lease *lease = self_leases.lookup(&place);
	u64 now = bpf_ktime_get_boot_ns();

	if (!lease || lease->address != repeat->address || now + repeat->promised > lease->held)
		return 0;
	if (repeat->extends)
		lease->seen = now;
	return 1;
}

/* Copy the frame of the answer; 0 if there is no room. */
static __always_inline int self_write(nf_ctx *ctx, const struct self_repeat *repeat)
{
#pragma clang loop unroll(disable)
	for (u32 at = 0; at < SELF_REPLY; at += SELF_CHUNK) {
		u64 *to;

		if (at >= repeat->length)
			break;
		to = nf_at(ctx, at, SELF_CHUNK);
		if (!to)
			return 0;
		*to = *(const u64 *)(repeat->frame + at);
	}
	return 1;
}

/* The transaction is the client's, and the checksum with it. */
static __always_inline int self_finish(nf_ctx *ctx, const struct self_repeat *repeat, int partial,
				       u16 high, u16 low)
{
	struct self_fixed *fixed = nf_at(ctx, SELF_MESSAGE, sizeof(*fixed));
	u16 *checksum = nf_at(ctx, SELF_CHECKSUM, sizeof(*checksum));
	u16 sum;

	if (!fixed || !checksum)
		return 0;
	fixed->xid[0] = high;
	fixed->xid[1] = low;
	sum = checksum_gain(*checksum, checksum_change(0, high) + checksum_change(0, low));
	*checksum = partial ? repeat->partial : (sum ? sum : 0xffff);
	return 1;
}

/* NF_ANSWER if the packet was turned into what its client was told before; NF_NEXT if it was not. */
static __always_inline int self_repeat(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct self_repeat *repeat;
	struct self_fixed *fixed;
	struct self_asked asked;
	u32 before = pkt->frame_length;
	u16 high, low;
	int partial;

	if (!self_ask(ctx, pkt, &asked))
		return NF_NEXT;
	repeat = self_repeats.lookup(&asked);
	fixed = nf_at(ctx, SELF_MESSAGE, sizeof(*fixed));
	if (!repeat || !fixed || !self_promise(repeat))
		return NF_NEXT;
	high = fixed->xid[0];
	low = fixed->xid[1];
	partial = hook_is_partial(ctx, SELF_CHECKSUM);
	if (repeat->length <= before ? hook_trim(ctx, repeat->length)
				     : hook_lengthen(ctx, repeat->length - before) < 0)
		return NF_NEXT;
	if (!self_write(ctx, repeat) || !self_finish(ctx, repeat, partial, high, low))
		return nf_drop(pkt, NF_REASON_NONE);
	return nf_answer(pkt, NF_REASON_ANSWERED);
}
