/* SPDX-License-Identifier: GPL-2.0 */
/* What windows.h wants to know of a TCP segment. */
#include "parse.h"
#include "tcpflags.h"

#define SELF_MAX_SCALE 14 /* RFC 7323, section 2.3 */
#define SELF_OPTION_END 0
#define SELF_OPTION_NOP 1
#define SELF_OPTION_SCALE 3
#define SELF_OPTION_BYTES 40 /* at most, in one header */
#define SELF_DATAGRAM 65535  /* bytes of the longest */

/* In a map, not on the stack: the verifier need not follow what is worked out from it. */
struct self_segment {
	u32 seq;
	u32 end; /* behind its last byte; SYN and FIN are one each */
	u32 ack;
	u32 window; /* as in its header, not yet scaled */
	u32 scale;  /* shift count of a SYN's option */
	u32 scaled; /* whether it has the option */
	u32 at;     /* of the option looked at, in the frame */
	u32 fit;    /* enum self_fit */
} __attribute__((aligned(8)));

BPF_TABLE("percpu_array", u32, struct self_segment, self_segments, 1);

static __always_inline struct self_segment *self_segment_at(void)
{
	u32 index = 0;

	return self_segments.lookup(&index);
}

/* Look for the option of window scaling among those that end at an offset of the frame. */
static __always_inline void self_find_scale(nf_ctx *ctx, struct self_segment *segment, u32 end)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_OPTION_BYTES; i++) {
		const u8 *option;

		/* Not in a register, where the verifier would tell each sum of lengths from others. */
		NF_BARRIER(segment);
		option = nf_at(ctx, segment->at, 3);

		/* It takes three bytes: fewer, and it is none of those left. */
		if (!option || segment->at + 3 > end || option[0] == SELF_OPTION_END)
			return;
		if (option[0] == SELF_OPTION_NOP) {
			segment->at++;
			continue;
		}
		if (option[1] < 2)
			return;
		if (option[0] == SELF_OPTION_SCALE && option[1] == 3) {
			segment->scaled = 1;
			segment->scale = option[2] > SELF_MAX_SCALE ? SELF_MAX_SCALE : option[2];
			return;
		}
		segment->at += option[1];
	}
}

/*
 * Read a segment; 0 if its header contradicts itself. The first fragment of a datagram does not say
 * how long the whole is: that is taken to be as long as can be.
 */
static __always_inline int self_read_segment(nf_ctx *ctx, const struct nf_packet *pkt)
{
	const struct tcphdr *tcp = nf_at(ctx, pkt->l4_offset, sizeof(*tcp));
	u32 header, length = parse_end(pkt) - pkt->l4_offset;
	struct self_segment *segment = self_segment_at();

	if (!tcp || !segment)
		return 0;
	header = tcp->doff * 4;
	if (header < sizeof(*tcp) || header > length)
		return 0;
	length = pkt->fragment == NF_FRAGMENT_FIRST ? SELF_DATAGRAM : length - header;
	segment->seq = bpf_ntohl(tcp->seq);
	segment->ack = bpf_ntohl(tcp->ack_seq);
	segment->window = bpf_ntohs(tcp->window);
	segment->end = segment->seq + length + tcp->syn + tcp->fin;
	segment->scale = 0;
	segment->scaled = 0;
	segment->at = pkt->l4_offset + sizeof(*tcp);
	if (tcp->syn)
		self_find_scale(ctx, segment, pkt->l4_offset + header);
	NF_BARRIER(segment);
	return 1;
}

#define SELF_VALID(flags) (1ull << (flags))

/* The sets of flags that a TCP sends, but for PSH, ECE and CWR, which may be with any of them. */
#define SELF_VALID_FLAGS                                                                           \
	(SELF_VALID(TCP_SYN) | SELF_VALID(TCP_SYN | TCP_URG) | SELF_VALID(TCP_SYN | TCP_ACK) |     \
	 SELF_VALID(TCP_RST) | SELF_VALID(TCP_RST | TCP_ACK) | SELF_VALID(TCP_ACK) |               \
	 SELF_VALID(TCP_ACK | TCP_URG) | SELF_VALID(TCP_FIN | TCP_ACK) |                           \
	 SELF_VALID(TCP_FIN | TCP_ACK | TCP_URG))

static __always_inline int self_odd_flags(u8 flags)
{
	u32 set = flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG);

	return !(SELF_VALID_FLAGS >> set & 1);
}
