/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the file says of a NAT: pools of outside addresses, who uses which, and static translations. User
 * space (nfv/ebpf/natplan.py) writes the image that is not read, and names it in one store.
 */
#include "nf.h"

#define SELF_SOURCES 32 /* inside prefixes of all pools */
#define SELF_POOLS 16
#define SELF_RANGES 32    /* ranges of outside addresses of all pools */
#define SELF_STATICS 1024 /* a power of two */

/* What the file uses of all that: code that is not needed is not there. */
#ifndef SELF_HAS_STATICS
#define SELF_HAS_STATICS 0
#define SELF_HAS_MSS 0
#define SELF_HAS_BLOCKS 0
#define SELF_HAS_LIMIT 0
#endif

#define SELF_RANDOM 1    /* ports are drawn, even where the inside one is free */
#define SELF_PARITY 2    /* an even port for an even one (RFC 4787, section 4.2.2) */
#define SELF_ARBITRARY 4 /* an inside host may use several addresses of its pool */
#define SELF_PASS 8      /* unsolicited packets go on to who has the masquerade address */

/* Addresses are in host order. The address 0 stands for the masquerade address. */
struct self_source {
	u32 prefix;
	u32 mask;
	u32 pool;
};

struct self_pool {
	u32 addresses;
	u16 first_range;
	u16 ranges;
	u16 first_word; /* of ports, 64 a word */
	u16 words;
	u16 block_words; /* of a block that is an inside address's own; 0: all ports are everybody's */
	u16 most;        /* blocks of an inside address; 0: one, which follows from it (RFC 7422) */
	u32 subscriber; /* the first, where blocks are reckoned */
};

struct self_range {
	u32 first;
	u32 count;
	u32 number; /* of its first address, among all */
	u32 pool;
};

/* A translation without state: endpoints from `low` to `high`, in order, to those from `address`. */
struct self_static {
	u64 low; /* address, protocol, port: 32, 16 and 16 bits */
	u64 high;
	u32 address;
	u16 port;
	u16 is_whole; /* of all protocols and ports of an address, or of several */
};

struct self_image {
	u32 flags;
	u32 sources;
	u32 ranges;
	u32 statics;
	u32 mss;   /* the most that TCP may agree on; 0: any */
	u32 limit; /* mappings of an inside address; 0: any number */
	struct self_source source[SELF_SOURCES];
	struct self_pool pool[SELF_POOLS];
	struct self_range range[SELF_RANGES];
	struct self_static outside[SELF_STATICS]; /* by the outside endpoint, in ascending order */
	struct self_static inside[SELF_STATICS];
};

BPF_F_TABLE("array", u32, struct self_image, self_images, NF_FLAT, BPF_F_MMAPABLE);

/* What the agent finds out. */
struct self_site {
	u32 image;      /* which one is read: 0 or 1 */
	u32 masquerade; /* address of the interface, in host order; 0 if it has none */
	u8 inside[8];   /* MAC address of who is inside; 0 if not known */
};

BPF_F_TABLE("array", u32, struct self_site, self_site, NF_FLAT, BPF_F_MMAPABLE);

static __always_inline struct self_site *self_here(void)
{
	return self_site.sk_storage_get(0, 0, 0);
}

static __always_inline const struct self_image *self_plan(void)
{
	const struct self_image *images = self_images.sk_storage_get(0, 0, 0);

	return images + (self_here()->image & 1);
}

/* The first address of a range; 0 if that is the masquerade address, and there is none. */
static __always_inline u32 self_first(const struct self_range *range)
{
	return range->first ? range->first : self_here()->masquerade;
}

/*
 * Where a search has come to: in a map, as the verifier does not follow it there, so that the ways through
 * a loop meet again after each step.
 */
struct self_search {
	volatile u32 at;
	u32 reserved;
};

BPF_TABLE("percpu_array", u32, struct self_search, self_searches, 1);

/* An endpoint as static translations are ordered by; the masquerade address counts as 0. */
static __always_inline u64 self_place(u32 address, u16 protocol, u16 port)
{
	u32 host = bpf_ntohl(address);

	host = host == self_here()->masquerade ? 0 : host;
	return (u64)host << 32 | (u64)protocol << 16 | bpf_ntohs(port);
}

/* The last static translation that begins at or before a place, or NULL. */
static __always_inline const struct self_static *self_before(const struct self_static *table,
							     u32 count, u64 place)
{
	u32 index = 0;
	struct self_search *search = self_searches.lookup(&index);
	const struct self_static *found;

	if (!search || !count)
		return 0;
	search->at = 0;
#pragma clang loop unroll(disable)
	for (int step = SELF_STATICS / 2; step; step >>= 1) {
		u32 next = (search->at + step) & (SELF_STATICS - 1);

		if (next < count && table[next].low <= place)
			search->at = next;
	}
	found = table + (search->at & (SELF_STATICS - 1));
	return found->low <= place ? found : 0;
}

/* What a static translation makes of an endpoint that it covers. */
static __always_inline void self_move(const struct self_static *way, u64 place, u32 *address,
				      u16 *port)
{
	u32 to = way->address ? way->address : self_here()->masquerade;

	if (way->is_whole) {
		*address = bpf_htonl(to + (u32)(place >> 32) - (u32)(way->low >> 32));
		return;
	}
	*address = bpf_htonl(to);
	*port = bpf_htons(way->port + (u16)place - (u16)way->low);
}

/* Translate an endpoint by a table of static translations; 0 if none covers it. */
static __always_inline int self_fixed(const struct self_static *table, u32 count, u16 protocol,
				      u32 *address, u16 *port)
{
	u64 place = self_place(*address, protocol, *port);
	const struct self_static *way = self_before(table, SELF_HAS_STATICS ? count : 0, place);

	if (!SELF_HAS_STATICS || !way || place > way->high)
		return 0;
	self_move(way, place, address, port);
	return 1;
}

/* The pool that an inside address uses, or -1. */
static __always_inline int self_pool_of(const struct self_image *plan, u32 address)
{
	u32 host = bpf_ntohl(address);

#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_SOURCES; i++) {
		if (i >= plan->sources)
			break;
		if ((host & plan->source[i].mask) == plan->source[i].prefix)
			return plan->source[i].pool & (SELF_POOLS - 1);
	}
	return -1;
}

/* Whether an address is in a pool. */
static __always_inline int self_is_pooled(const struct self_image *plan, u32 address)
{
	u32 host = bpf_ntohl(address);

#pragma clang loop unroll(disable)
	for (int i = 0; i < SELF_RANGES; i++) {
		u32 first;

		if (i >= plan->ranges)
			break;
		first = self_first(&plan->range[i]);
		if (first && host - first < plan->range[i].count)
			return 1;
	}
	return 0;
}

/* Whether an address is one of the outside addresses: in a pool, or of a static translation. */
static __always_inline int self_is_outside(const struct self_image *plan, u32 address)
{
#if SELF_HAS_STATICS
	const struct self_static *way =
		self_before(plan->outside, plan->statics, self_place(address, 0xffff, 0xffff));

	if (way && way->high >= self_place(address, 0, 0))
		return 1;
#endif
	return self_is_pooled(plan, address);
}
