/* SPDX-License-Identifier: GPL-2.0 */
/* Looks addresses up in a table of routes, many a run; which table it is, METHOD says. */
#define KEYS_A_RUN 256

#define METHOD_NONE 0  /* what the loop itself costs */
#define METHOD_FLAT 1  /* nfv/ebpf/include/prefixes.h */
#define METHOD_NODES 2 /* nodes of 256 words that are looked up in an array map, one for 8 bits */

struct lookups_state {
	u64 at;
	u64 found; /* sum of what was found */
};

struct lookups_node {
	u32 word[256];
};

BPF_F_TABLE("array", u32, struct lookups_state, state, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, keys, NF_FLAT, BPF_F_MMAPABLE);

#if METHOD == METHOD_FLAT
BPF_F_TABLE("array", u32, struct prefixes_line, table, NF_FLAT, BPF_F_MMAPABLE);

static __always_inline u32 look_up(u64 half)
{
	const struct prefixes_line *root = table.sk_storage_get(0, 0, 0);
	u64 shift = NF_LINK(0);
	u32 entry = root->word[half >> shift];

	return prefixes_follow(root + (1ull << (60 - shift)), NF_LINK(1), entry, half, 64 - shift,
			       LEVELS);
}
#elif METHOD == METHOD_NODES
BPF_F_TABLE("array", u32, struct lookups_node, table, 1, BPF_F_MMAPABLE);

static __always_inline u32 look_up(u64 half)
{
	u32 entry = PREFIXES_CHILD | half >> 56;

#pragma clang loop unroll(disable)
	for (int i = 1; i < 8; i++) {
		u32 index = entry & ~PREFIXES_CHILD;
		struct lookups_node *node = table.lookup(&index);

		half <<= 8;
		if (!node)
			return 0;
		entry = node->word[half >> 56];
		if (!(entry & PREFIXES_CHILD))
			break;
	}
	return entry;
}
#else
static __always_inline u32 look_up(u64 half)
{
	return half & 1;
}
#endif

int lookups(struct xdp_md *ctx)
{
	volatile struct lookups_state *now = state.sk_storage_get(0, 0, 0);
	const u64 *key = keys.sk_storage_get(0, 0, 0);
	u64 at = now->at, found = 0;

#pragma clang loop unroll(disable)
	for (u64 i = 0; i < KEYS_A_RUN; i++) {
		u64 half = key[(at + i) & NF_LINK(2)];

#ifdef DEPENDENT
		asm volatile("%0 >>= 40"
			     : "+r"(found)); /* 0, but the processor has to wait for it */
		half ^= found;
#endif
		asm volatile("" : "+r"(half));
		found = look_up(half);
		now->found += found;
	}
	now->at = at + KEYS_A_RUN;
	return XDP_DROP;
}
