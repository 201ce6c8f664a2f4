/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How many mappings an inside address may have (RFC 6888, REQ-4). Programs count those that are made, the
 * agent those that it has ended: two counters with a writer of one kind each, so none is ever lost.
 */
#include "natplan.h"

#if SELF_HAS_LIMIT
BPF_TABLE("hash", u32, u32, self_made, 1); /* by inside address, in network order */
BPF_TABLE("hash", u32, u32, self_ended, 1);

/* The counter of an inside address, or NULL if there is no room for it. */
static __always_inline u32 *self_made_by(u32 inside)
{
	u32 none = 0, *made = self_made.lookup(&inside);

	if (made)
		return made;
	self_made.insert(&inside, &none);
	return self_made.lookup(&inside);
}
#endif

/* Count one mapping more; not 0, and nothing counted, if that is too many. */
static __always_inline int self_reserve(const struct self_image *plan, u32 inside)
{
#if SELF_HAS_LIMIT
	u32 *made = self_made_by(inside), *ended = self_ended.lookup(&inside);

	if (!made)
		return 1;
	/* Counted before it is compared: of two CPUs neither sees a number without the other's. */
	__sync_fetch_and_add(made, 1);
	if ((s32)(*(volatile u32 *)made - (ended ? *ended : 0)) <= (s32)plan->limit)
		return 0;
	__sync_fetch_and_add(made, -1);
	return 1;
#else
	return 0;
#endif
}

/* Count one less. */
static __always_inline void self_give_back(u32 inside)
{
#if SELF_HAS_LIMIT
	u32 *made = self_made.lookup(&inside);

	if (made)
		__sync_fetch_and_add(made, -1);
#endif
}
