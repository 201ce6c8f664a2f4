/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sends the frames of many flows into the chains at a constant rate: run on live frames again and
 * again, it makes each the next frame when that is due, with a stamp for the sink, and calls the XDP
 * program of the port where it enters. Frames of a port that has a TC program instead are passed to
 * the kernel as received by its device. While none is due, it waits for a moment and drops the frame
 * that it was run on.
 *
 * Times are in nanoseconds of CLOCK_MONOTONIC. User space reads and writes the cursor as memory, so
 * every member of it is 64 bits.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>

#include "stamp.h"

#define GENERATOR_HEAD 128         /* bytes of a frame that are written; the rest are zeros */
#define GENERATOR_WAIT 8192        /* looks at the clock in one run, some 0.3 ms */
#define GENERATOR_FRACTION 1048576 /* the unit of `gap`, of which a nanosecond has so many */

/* All frames of a flow of one length. Places are in bytes from the beginning. */
struct generator_frame {
	u32 jump;   /* place of the program of the port where it enters */
	u32 length; /* without FCS */
	u32 flow;
	u32 sum;   /* of the words of the transport checksum but for the stamp and the port */
	u16 head;  /* bytes to write */
	u16 stamp; /* place of the stamp */
	u16 check; /* place of the transport checksum; 0: there is none */
	u16 port;  /* place of the source port, where flows are renewed; else 0 */
	u8 bytes[GENERATOR_HEAD];
};

struct generator_cursor {
	u64 timed; /* 0 at top speed */
	u64 limit; /* frames to send; what had been sent when the time was up */
	u64 base;  /* when the first frame is due; 0 while nothing is to be sent yet */
	u64 until; /* when the time is up */
	u64 gap;   /* between two frames, in GENERATOR_FRACTION of a nanosecond */
	u64 count; /* of the frames that are sent in turn */
	u64 trial;
	u64 sample;  /* every so manieth frame is timed */
	u64 verdict; /* on frames of ports without XDP program */
	u64 running; /* whether the program has been run */
	u64 next;    /* place of the next frame */
	u64 sent;    /* frames */
	u64 bytes;
	u64 first; /* when the first frame was sent */
	u64 last;
	u64 worst; /* by how much a frame was late at most */
	u64 renew; /* a flow is renewed after so many frames; 0: never */
	u64 flows;
	u64 first_port; /* of flows that are renewed */
	u64 ports;
};

BPF_F_TABLE("array", u32, struct generator_frame, generator_frames, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct generator_cursor, generator_cursors, 1, BPF_F_MMAPABLE);
BPF_PROG_ARRAY(nf_jumps, 1);

/* Wait until the next frame is due; the time to stamp it with, or 0 if it is not to be sent yet. */
static __always_inline u64 generator_due(struct generator_cursor *cursor)
{
	u64 now = bpf_ktime_get_ns(), due = now;

	if (cursor->timed) {
		due = cursor->base + cursor->sent * cursor->gap / GENERATOR_FRACTION;
		for (int i = 0; i < GENERATOR_WAIT && now < due; i++)
			now = bpf_ktime_get_ns();
		if (now < due)
			return 0;
		if (now - due > cursor->worst)
			cursor->worst = now - due;
	}
	if (now < cursor->base)
		return 0;
	if (now >= cursor->until) {
		cursor->limit = cursor->sent;
		return 0;
	}
	if (!cursor->sent)
		cursor->first = now;
	cursor->last = now;
	return due;
}

/* The source port of a flow that has given way to another one as often as it was its turn. */
static __always_inline u16 generator_port(const struct generator_cursor *cursor, u32 flow)
{
	u64 renewed = cursor->sent / cursor->renew, number = flow;

	if (renewed > flow)
		number += ((renewed - flow - 1) / cursor->flows + 1) * cursor->flows;
	return bpf_htons(cursor->first_port + number % cursor->ports);
}

static __always_inline u16 generator_fold(u64 sum)
{
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = (u16)~sum;
	return sum ? sum
		   : 0xffff; /* in UDP, 0 stands for none; to others both are zero (RFC 768) */
}

static __always_inline void generator_put(struct generator_frame *frame, u32 place, u16 value)
{
	place &= GENERATOR_HEAD - 1;
	if (place <= GENERATOR_HEAD - 2)
		*(u16 *)(frame->bytes + place) = value;
}

/* Write what tells this frame from the one before of its flow. */
static __always_inline void generator_fill(struct generator_cursor *cursor,
					   struct generator_frame *frame, u64 due)
{
	struct stamp stamp = {
		.trial = cursor->trial,
		.flow = frame->flow,
		.sequence = cursor->sent,
		.time = cursor->sent % cursor->sample ? 0 : due,
	};
	const u16 *words = (void *)&stamp;
	u32 place = frame->stamp & (GENERATOR_HEAD - 1);
	u64 sum = frame->sum;
	u16 port;

	if (place > GENERATOR_HEAD - sizeof(stamp))
		return;
	__builtin_memcpy(frame->bytes + place, &stamp, sizeof(stamp));
#pragma unroll
	for (int i = 0; i < sizeof(stamp) / 2; i++)
		sum += words[i];
	if (cursor->renew && frame->port) {
		port = generator_port(cursor, frame->flow);
		generator_put(frame, frame->port, port);
		sum += port;
	}
	if (frame->check)
		generator_put(frame, frame->check, generator_fold(sum));
}

int generate(struct xdp_md *ctx)
{
	struct generator_cursor *cursor;
	struct generator_frame *frame;
	u64 due, head;
	u32 index = 0;
	int change;

	cursor = generator_cursors.lookup(&index);
	if (!cursor)
		return XDP_DROP;
	cursor->running = 1;
	if (!cursor->base || cursor->sent >= cursor->limit)
		return XDP_DROP;
	index = cursor->next;
	frame = generator_frames.lookup(&index);
	if (!frame)
		return XDP_DROP;
	due = generator_due(cursor);
	if (!due)
		return XDP_DROP;
	generator_fill(cursor, frame, due);
	cursor->sent++;
	cursor->bytes += frame->length;
	cursor->next = index + 1 < cursor->count ? index + 1 : 0;
	change = (int)frame->length - (int)(ctx->data_end - ctx->data);
	if (change && bpf_xdp_adjust_tail(ctx, change))
		return XDP_DROP;
	head = frame->head;
	asm volatile(""
		     : "+r"(head)); /* the verifier has to see both bounds of the same register */
	if (head < ETH_HLEN || head > GENERATOR_HEAD)
		return XDP_DROP;
	if (bpf_xdp_store_bytes(ctx, 0, frame->bytes, head))
		return XDP_DROP;
	nf_jumps.call(ctx, frame->jump);
	return cursor->verdict;
}
