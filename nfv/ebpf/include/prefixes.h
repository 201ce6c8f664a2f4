/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Longest prefix match in a flat table: a root, then lines that hold nodes of 256 words and buckets of
 * five prefixes. User space builds it (nfv/ebpf/prefixes.py, where the layout is described).
 */
#ifndef NFV_PREFIXES_H
#define NFV_PREFIXES_H

#include "nf.h"

#define PREFIXES_CHILD (1u << 25)  /* the word leads to a node or a bucket, not to a value */
#define PREFIXES_BUCKET (1u << 24) /* and it is a bucket */
#define PREFIXES_ENTRY ((1u << 26) - 1)
#define PREFIXES_SHIFT_AT                                                                          \
	26 /* above: how far a bucket's prefix is from the end of the key's half */
#define PREFIXES_PLACES 5

struct prefixes_line {
	u32 word[16];
};

struct prefixes_bucket {
	u64 key[PREFIXES_PLACES];
	u32 otherwise;
	u32 word[PREFIXES_PLACES];
};

/*
 * The entry of a bucket for a half of a key: that of the last, longest prefix that matches. The place
 * of the match is as good as random, so there are no branches to guess it.
 */
static __always_inline u32 prefixes_match(const struct prefixes_bucket *bucket, u64 half)
{
	u64 found = bucket->otherwise;

#pragma unroll
	for (int i = 0; i < PREFIXES_PLACES; i++) {
		u64 word = bucket->word[i];
		u64 rest = (half ^ bucket->key[i]) >> (word >> PREFIXES_SHIFT_AT);
		u64 is_match = ~rest & (rest - 1); /* the sign bit is set for 0 */

		asm volatile("%0 s>>= 63" : "+r"(is_match)); /* clang would branch */
		found ^= (found ^ word) & is_match;
	}
	return found & PREFIXES_ENTRY;
}

/*
 * Follow an entry through a half of the key, of which `used` bits have led to it: past no more than
 * `levels` nodes, which select by all that is left of it. `lines` are `mask` + 1, a power of two.
 */
static __always_inline u32 prefixes_follow(const struct prefixes_line *lines, u64 mask, u32 entry,
					   u64 half, u64 used, int levels)
{
	u64 bits = half << used;
	int level;

#pragma clang loop unroll(disable)
	for (level = 0; level < levels; level++) {
		if ((entry & (PREFIXES_CHILD | PREFIXES_BUCKET)) != PREFIXES_CHILD)
			break;
		entry = lines[entry & mask].word[bits >> 56];
		bits <<= 8;
	}
	if (level < levels && entry & PREFIXES_CHILD)
		entry = prefixes_match((const void *)(lines + (entry & mask)), half);
	return entry;
}

#endif /* NFV_PREFIXES_H */
