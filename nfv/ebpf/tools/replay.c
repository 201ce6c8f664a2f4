/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sends frames from memory into the chains, each when it is due: run on live frames again and again,
 * it gives each the content of the next record and calls the XDP program of the port where it enters.
 * Frames of a port that has a TC program instead are passed to the kernel as received by its device.
 * While none is due, it waits for a moment and drops the frame that it was run on.
 *
 * Times are in nanoseconds of CLOCK_MONOTONIC. User space reads and writes the maps as memory, so
 * every member of the cursor is 64 bits.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>

#include "histogram.h"

#define REPLAY_CHUNK_SIZE 1048576
#define REPLAY_MAX_FRAME 4096
#define REPLAY_WAIT 8192 /* looks at the clock in one run, some 0.3 ms */
#define REPLAY_LOOK 64   /* packets between two looks at the clock at top speed */

/* A frame follows, then the next record, at a multiple of 8 bytes; a length of 0 ends a chunk. */
struct replay_record {
	u64 due;    /* after the beginning of the pass */
	u32 jump;   /* place of the port's program */
	u16 length; /* bytes */
	u16 source;
};

/* Records begin within REPLAY_CHUNK_SIZE. */
struct replay_chunk {
	u8 bytes[REPLAY_CHUNK_SIZE + REPLAY_MAX_FRAME + 32];
};

struct replay_cursor {
	u64 timed;   /* 0 at top speed */
	u64 limit;   /* packets to send */
	u64 slots;   /* chunks that there is room for */
	u64 filled;  /* chunks written so far */
	u64 period;  /* of a pass, after which the same chunks come again; 0 if others do */
	u64 chunk;   /* chunks sent so far */
	u64 offset;  /* of the next record in its chunk */
	u64 base;    /* when the pass begins; 0 while nothing is to be sent yet */
	u64 running; /* whether the program has been run */
	u64 verdict; /* on frames of ports without XDP program */
	u64 sent;    /* packets */
	u64 first;   /* when the first packet was sent */
	u64 last;    /* when the last one was, or at top speed one of the last REPLAY_LOOK */
	u64 last_due;
	u64 worst; /* largest error of a gap */
};

struct replay_sent {
	u64 packets;
	u64 bytes;
};

BPF_F_TABLE("array", u32, struct replay_chunk, replay_chunks, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct replay_cursor, replay_cursors, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct replay_sent, replay_sources, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, replay_gaps, HISTOGRAM_BUCKETS, BPF_F_MMAPABLE);
BPF_PROG_ARRAY(nf_jumps, 1);

/* Compare the gap in front of a packet with what was asked for. */
static __always_inline void replay_compare(struct replay_cursor *cursor, u64 now, u64 due)
{
	s64 error = (now - cursor->last) - (due - cursor->last_due);
	u32 bucket;
	u64 *count;

	if (error < 0)
		error = -error;
	if ((u64)error > cursor->worst)
		cursor->worst = error;
	bucket = histogram_bucket(error);
	count = replay_gaps.lookup(&bucket);
	if (count)
		(*count)++;
}

/* Wait until a record is due; whether it is. */
static __always_inline bool replay_due(struct replay_cursor *cursor, u64 offset)
{
	u64 now, due;

	if (!cursor->timed && cursor->sent % REPLAY_LOOK && cursor->sent + 1 != cursor->limit)
		return true;
	now = bpf_ktime_get_ns();
	due = cursor->base + offset;
	if (cursor->timed) {
		for (int i = 0; i < REPLAY_WAIT && now < due; i++)
			now = bpf_ktime_get_ns();
		if (now < due)
			return false;
		if (cursor->sent)
			replay_compare(cursor, now, due);
	}
	if (!cursor->sent)
		cursor->first = now;
	cursor->last = now;
	cursor->last_due = due;
	return true;
}

/* On to the record at an offset, or to the next chunk. */
static __always_inline void replay_advance(struct replay_cursor *cursor, struct replay_chunk *chunk,
					   u64 offset)
{
	struct replay_record *next = (void *)chunk + offset;

	cursor->sent++;
	if (offset < REPLAY_CHUNK_SIZE && next->length) {
		cursor->offset = offset;
		return;
	}
	cursor->offset = 0;
	cursor->chunk++;
	if (cursor->chunk % cursor->slots == 0)
		cursor->base += cursor->period;
}

static __always_inline void replay_count(u32 source, u32 length)
{
	struct replay_sent *sent = replay_sources.lookup(&source);

	if (sent) {
		sent->packets++;
		sent->bytes += length;
	}
}

int replay(struct xdp_md *ctx)
{
	struct replay_cursor *cursor;
	struct replay_record *record;
	struct replay_chunk *chunk;
	u64 offset, length;
	u32 index = 0;
	int change;

	cursor = replay_cursors.lookup(&index);
	if (!cursor)
		return XDP_DROP;
	cursor->running = 1;
	if (!cursor->base || cursor->sent >= cursor->limit || cursor->chunk >= cursor->filled)
		return XDP_DROP;
	index = cursor->chunk % cursor->slots;
	chunk = replay_chunks.lookup(&index);
	if (!chunk)
		return XDP_DROP;
	offset = cursor->offset & (REPLAY_CHUNK_SIZE - 1);
	record = (void *)chunk + offset;
	/* The verifier has to see both bounds of the same register. */
	length = record->length;
	if (length < ETH_HLEN)
		return XDP_DROP;
	asm volatile("" : "+r"(length));
	if (length > REPLAY_MAX_FRAME)
		return XDP_DROP;
	if (!replay_due(cursor, record->due))
		return XDP_DROP;
	replay_advance(cursor, chunk, offset + sizeof(*record) + ((length + 7) & ~7ull));
	replay_count(record->source, length);
	change = (int)length - (int)(ctx->data_end - ctx->data);
	if (change && bpf_xdp_adjust_tail(ctx, change))
		return XDP_DROP;
	if (bpf_xdp_store_bytes(ctx, 0, record + 1, length))
		return XDP_DROP;
	nf_jumps.call(ctx, record->jump);
	return cursor->verdict;
}
