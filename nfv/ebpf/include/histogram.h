/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts of durations by size: HISTOGRAM_SUB buckets for each power of two, so that a bucket is at most
 * a 32nd wider than its least value. nfv/dataplane/load/histogram.py reads them.
 */
#ifndef NFV_HISTOGRAM_H
#define NFV_HISTOGRAM_H

#define HISTOGRAM_SUB_BITS 5 /* buckets for each power of two, as a power of two */
#define HISTOGRAM_MAX_POWER 40
#define HISTOGRAM_BUCKETS ((HISTOGRAM_MAX_POWER - HISTOGRAM_SUB_BITS + 2) << HISTOGRAM_SUB_BITS)

/* The bucket of a value: its highest bit and the HISTOGRAM_SUB_BITS below that. */
static __always_inline u32 histogram_bucket(u64 value)
{
	u32 power = 0;

	if (value >> HISTOGRAM_MAX_POWER)
		return HISTOGRAM_BUCKETS - 1;
	if (value < 1 << HISTOGRAM_SUB_BITS)
		return value;
#pragma unroll
	for (int bits = 32; bits; bits /= 2) {
		if (value >> power >> bits)
			power += bits;
	}
	power -= HISTOGRAM_SUB_BITS;
	return ((power + 1) << HISTOGRAM_SUB_BITS) +
	       ((value >> power) & ((1 << HISTOGRAM_SUB_BITS) - 1));
}

#endif /* NFV_HISTOGRAM_H */
