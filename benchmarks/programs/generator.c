/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sends frames made beforehand, one after the other, again and again. A live frame's memory comes back
 * as the path left it, so every byte is written anew. FRAME_WORDS, the length in units of 4 bytes, is
 * set where the text is compiled.
 */
#include <uapi/linux/bpf.h>

struct frame {
	u32 words[FRAME_WORDS];
};

struct cursor {
	u32 next;
	u32 count; /* of frames to send in turn */
};

BPF_ARRAY(frames, struct frame, 1);
BPF_ARRAY(cursors, struct cursor, 1);
BPF_DEVMAP(out, 1);

int generate(struct xdp_md *ctx)
{
	u32 *to = (void *)(long)ctx->data;
	struct cursor *cursor;
	struct frame *frame;
	int zero = 0;
	int index;

	cursor = cursors.lookup(&zero);
	if (!cursor || (void *)(to + FRAME_WORDS) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	index = cursor->next;
	cursor->next = cursor->next + 1 < cursor->count ? cursor->next + 1 : 0;
	frame = frames.lookup(&index);
	if (!frame)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < FRAME_WORDS; i++)
		to[i] = frame->words[i];
	return out.redirect_map(0, 0);
}
