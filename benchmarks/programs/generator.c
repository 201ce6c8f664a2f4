/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sends the frames of many flows: what a flow is comes from a sequence drawn beforehand, all else from
 * a template. A live frame's memory comes back as the path left it, so every header byte is written
 * anew. Each CPU goes through the sequence by itself.
 *
 * Set where the text is compiled: FRAME_SIZE, bytes of the longest frame; HEAD_SIZE, bytes written, even;
 * where in the frame the flow's address, its port and the checksums are (ADDRESS_AT, PORT_AT, L3_CHECK_AT,
 * L4_CHECK_AT; 0: there is none), and MAC_AT, where a MAC address ends with the flow's (0: none); PORT_BITS, in which the port differs from the flow's; IPV6; KINDS, the
 * number of templates; STAMP_AT, in frames that are timed and paced, or 0.
 */
#include <uapi/linux/bpf.h>

#define SPINS 4096 /* looks at the clock before a frame that is not yet due goes anyway */

/* What tells a frame from the others. In network order, but for the kind. */
struct flow {
#if IPV6
	u64 address; /* its upper half */
#else
	u32 address;
	u16 port;
	u16 kind; /* number of the template */
#endif
};

/* Sums are those of all 16-bit words, as they lie in memory, but the flow's and the checksum. */
struct template {
	u32 l3_sum;
	u32 l4_sum;
	u32 length;
	u32 reserved;
	u8 head[80];
};

struct cursor {
	u32 next;
	u32 first; /* of the flows in the sequence that are sent */
	u32 end;   /* past the last */
	u32 reserved;
};

/* When frames are to go, in nanoseconds. */
struct pace {
	u64 due;
	u32 next; /* interval */
	u32 count;
};

BPF_F_TABLE("array", u32, struct flow, flows, 1, BPF_F_MMAPABLE);
BPF_ARRAY(templates, struct template, 1);
BPF_TABLE("percpu_array", u32, struct cursor, cursors, 1);
BPF_ARRAY(paces, struct pace, 1);
BPF_ARRAY(intervals, u64, 1);
BPF_DEVMAP(out, 1);

static __always_inline void copy(void *to, const void *from)
{
#pragma unroll
	for (int i = 0; i + 4 <= HEAD_SIZE; i += 4)
		*(u32 *)(to + i) = *(u32 *)(from + i);
#if HEAD_SIZE % 4
	*(u16 *)(to + HEAD_SIZE - 2) = *(u16 *)(from + HEAD_SIZE - 2);
#endif
}

static __always_inline u32 words(u64 value)
{
	return (value & 0xffff) + (value >> 16 & 0xffff) + (value >> 32 & 0xffff) + (value >> 48);
}

static __always_inline u16 fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Wait until the next frame is due, and say when that was: a frame that is late has waited as well. */
static __always_inline u64 wait(void)
{
	u64 *interval, now, due;
	struct pace *pace;
	u32 index = 0;

	pace = paces.lookup(&index);
	if (!pace)
		return 0;
	index = pace->next;
	pace->next = pace->next + 1 < pace->count ? pace->next + 1 : 0;
	interval = intervals.lookup(&index);
	if (!interval)
		return 0;
	if (!pace->due)
		pace->due = bpf_ktime_get_ns();
	due = pace->due + *interval;
	pace->due = due;
	for (int i = 0; i < SPINS; i++) {
		now = bpf_ktime_get_ns();
		if (now >= due)
			break;
	}
	return due;
}

/* The next flow of the sequence. */
static __always_inline struct flow *draw(void)
{
	struct cursor *cursor;
	u32 index = 0;

	cursor = cursors.lookup(&index);
	if (!cursor)
		return 0;
	index = cursor->next;
	cursor->next = cursor->next + 1 < cursor->end ? cursor->next + 1 : cursor->first;
	return flows.lookup(&index);
}

int generate(struct xdp_md *ctx)
{
	struct flow *flow = draw();
	struct template *from;
	u32 kind = 0, sum;
	u64 address;
	void *to;

	if (!flow)
		return XDP_ABORTED;
#if KINDS > 1
	kind = flow->kind;
#endif
	from = templates.lookup(&kind);
	if (!from)
		return XDP_ABORTED;
#if KINDS > 1
	if (bpf_xdp_adjust_tail(ctx, from->length - FRAME_SIZE))
		return XDP_ABORTED;
#endif
	to = (void *)(long)ctx->data;
	if (to + HEAD_SIZE > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	copy(to, from->head);
	address = flow->address;
	sum = words(address);
#if IPV6
	__builtin_memcpy(to + ADDRESS_AT, &address, 8);
#else
	*(u32 *)(to + ADDRESS_AT) = address;
#if MAC_AT
	*(u32 *)(to + MAC_AT) = address;
#endif
	*(u16 *)(to + L3_CHECK_AT) = fold(from->l3_sum + sum);
	*(u16 *)(to + PORT_AT) = flow->port ^ PORT_BITS;
	sum += flow->port ^ PORT_BITS;
#endif
#if STAMP_AT
	{
		u64 due = wait();

		__builtin_memcpy(to + STAMP_AT, &due, 8);
		sum += words(due);
	}
#endif
	sum = fold(from->l4_sum + sum);
	*(u16 *)(to + L4_CHECK_AT) = sum ? sum : 0xffff;
	return out.redirect_map(0, 0);
}
