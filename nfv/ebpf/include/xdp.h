/* SPDX-License-Identifier: GPL-2.0 */
/* The hook of programs attached by XDP. tc.h has the same names, and says what each is for. */
#ifndef NFV_XDP_H
#define NFV_XDP_H

typedef struct xdp_md nf_ctx;

#define HOOK_DROP XDP_DROP
#define HOOK_WHOLE 1

BPF_DEVMAP(nf_ports, 1);
BPF_PROG_ARRAY(nf_jumps, 1);

static __always_inline void *hook_data(nf_ctx *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *hook_end(nf_ctx *ctx)
{
	return (void *)(long)ctx->data_end;
}

static __always_inline void hook_open(nf_ctx *ctx)
{
}

static __always_inline u64 hook_length(nf_ctx *ctx)
{
#ifdef NFV_FRAGS
	return bpf_xdp_get_buff_len(ctx);
#else
	return hook_end(ctx) - hook_data(ctx);
#endif
}

static __always_inline void hook_measure(nf_ctx *ctx, struct hook_wire *wire)
{
	wire->frames = 1;
	wire->bytes = hook_length(ctx);
	wire->largest = wire->bytes - sizeof(struct ethhdr);
}

static __always_inline __be16 hook_ethertype(nf_ctx *ctx, const struct ethhdr *eth)
{
	return *(const __be16 *)&eth->h_proto;
}

static __always_inline u32 hook_extent(nf_ctx *ctx, u32 stated, u32 header)
{
	return stated + header;
}

static __always_inline void hook_jump(nf_ctx *ctx, u32 place)
{
	nf_jumps.call(ctx, place);
}

static __always_inline int hook_send(nf_ctx *ctx, u32 port)
{
	return nf_ports.redirect_map(port, 0);
}

static __always_inline int hook_trim(nf_ctx *ctx, u32 length)
{
	u32 before = hook_length(ctx);

	asm volatile("" : "+r"(before)); /* the verifier lets nothing be added to data_end */
	return bpf_xdp_adjust_tail(ctx, (int)length - (int)before);
}

/* There is always room in front of a frame, but behind it only by chance. */
static __always_inline int hook_lengthen(nf_ctx *ctx, u32 length)
{
	return bpf_xdp_adjust_head(ctx, -(int)length) ? -1 : (int)length;
}

static __always_inline int hook_insert(nf_ctx *ctx, u32 length)
{
	return bpf_xdp_adjust_head(ctx, -(int)length);
}

static __always_inline int hook_push(nf_ctx *ctx, u32 length)
{
	return bpf_xdp_adjust_head(ctx, -(int)length);
}

static __always_inline int hook_pull(nf_ctx *ctx, u32 length)
{
	return bpf_xdp_adjust_head(ctx, (int)length);
}

static __always_inline void hook_checksum(nf_ctx *ctx, u32 offset, int is_udp, u32 pseudo, u32 gain)
{
	u16 *checksum = hook_data(ctx) + offset, sum;

	if ((void *)(checksum + 1) > hook_end(ctx) || (is_udp && !*checksum))
		return;
	sum = checksum_gain(*checksum, pseudo + gain);
	*checksum = is_udp && !sum ? 0xffff : sum;
}

static __always_inline int hook_tell(nf_ctx *ctx, u32 word)
{
	u32 *at;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(word)))
		return -1;
	at = (void *)(long)ctx->data_meta;
	if ((void *)(at + 1) > hook_data(ctx))
		return -1;
	*at = word;
	return 0;
}

static __always_inline u32 hook_told(nf_ctx *ctx)
{
	u32 *at = (void *)(long)ctx->data_meta, word;

	if ((void *)(at + 1) > hook_data(ctx))
		return 0;
	word = *at;
	bpf_xdp_adjust_meta(ctx, sizeof(word));
	return word;
}

static __always_inline void hook_copy(nf_ctx *ctx, u32 index)
{
}

static __always_inline u32 hook_tag_at(nf_ctx *ctx, u32 place)
{
	return hook_read_tag(hook_data(ctx), hook_end(ctx), 2 * ETH_ALEN + place * HOOK_TAG);
}

static __always_inline s32 hook_tag(nf_ctx *ctx)
{
	u32 tag = hook_tag_at(ctx, 0);

	return tag >> 16 == ETH_P_8021Q ? (s32)(tag & 0xffff) : -1;
}

static __always_inline int hook_set_tag(nf_ctx *ctx, u16 value)
{
	u16 *tag = hook_data(ctx) + 2 * ETH_ALEN;

	if ((void *)(tag + 2) > hook_end(ctx))
		return -1;
	tag[1] = bpf_htons(value);
	return 0;
}

static __always_inline int hook_add_tag(nf_ctx *ctx, u16 protocol, u16 value)
{
	u32 *macs;

	if (bpf_xdp_adjust_head(ctx, -HOOK_TAG))
		return -1;
	macs = hook_data(ctx);
	if ((void *)(macs + 4) > hook_end(ctx))
		return -1;
	macs[0] = macs[1];
	macs[1] = macs[2];
	macs[2] = macs[3];
	macs[3] = bpf_htonl((u32)protocol << 16 | value);
	return 0;
}

static __always_inline int hook_untag(nf_ctx *ctx)
{
	u32 *macs = hook_data(ctx);

	if ((void *)(macs + 4) > hook_end(ctx))
		return -1;
	macs[3] = macs[2];
	macs[2] = macs[1];
	macs[1] = macs[0];
	return bpf_xdp_adjust_head(ctx, HOOK_TAG);
}

static __always_inline int hook_is_partial(nf_ctx *ctx, u32 offset)
{
	return 0;
}

#endif /* NFV_XDP_H */
