/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sends frames made beforehand, one after the other, again and again. A live frame's memory comes back
 * as the path left it, so every byte is written anew. FRAME_SIZE, in bytes and even, is set where the
 * text is compiled.
 */
#include <uapi/linux/bpf.h>

struct frame {
	u8 bytes[FRAME_SIZE];
};

struct cursor {
	u32 next;
	u32 count; /* of frames to send in turn */
};

BPF_ARRAY(frames, struct frame, 1);
BPF_ARRAY(cursors, struct cursor, 1);
BPF_DEVMAP(out, 1);

static __always_inline void copy(void *to, const void *from)
{
#pragma unroll
	for (int i = 0; i + 4 <= FRAME_SIZE; i += 4)
		*(u32 *)(to + i) = *(u32 *)(from + i);
#if FRAME_SIZE % 4
	*(u16 *)(to + FRAME_SIZE - 2) = *(u16 *)(from + FRAME_SIZE - 2);
#endif
}

int generate(struct xdp_md *ctx)
{
	void *to = (void *)(long)ctx->data;
	struct cursor *cursor;
	struct frame *frame;
	int zero = 0;
	int index;

	cursor = cursors.lookup(&zero);
	if (!cursor || to + FRAME_SIZE > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	index = cursor->next;
	cursor->next = cursor->next + 1 < cursor->count ? cursor->next + 1 : 0;
	frame = frames.lookup(&index);
	if (!frame)
		return XDP_ABORTED;
	copy(to, frame);
	return out.redirect_map(0, 0);
}
