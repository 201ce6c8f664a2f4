/* SPDX-License-Identifier: GPL-2.0 */
/* The form of the matcher's tables, as far as it is the same for all; see matcher.h. */
#ifndef NFV_MATCH_H
#define NFV_MATCH_H

#include "nf.h"

#define MATCH_ROOM 4096 /* of the map behind what SELF_TABLE says: something may end there */

#define MATCH_PLAIN 16 /* rows of up to so many words are plain */
#define MATCH_GROUP 4  /* words that a bit of an aggregate stands for */
#define MATCH_CHUNK 16
#define MATCH_SELECT 1u        /* of a slot: 256 slots follow, by the next byte */
#define MATCH_NODE 0x80000000u /* of a slot: a struct match_node follows */
#define MATCH_NODE_SIZE 64     /* and alignment */
#define MATCH_STEPS                                                                                \
	17 /* of the longest lookup of an IPv6 address: each but the last takes a byte */
#define MATCH_TABLES 3         /* by protocol without ports, by protocol, by TCP flags */
#define MATCH_NONE 0xffffffffu /* plus 1 is 0: the place of what decides when no rule does */

/* Times a power of two, the highest 6 bits number all powers of two. */
#define MATCH_DE_BRUIJN 0x03f79d71b4cb0a89ull

/* Fields that are looked at only where a pattern asks for them: bits of SELF_ASKS. */
#define MATCH_MACS 1
#define MATCH_LENGTH 2
#define MATCH_TRAITS 4 /* DSCP and place in the datagram */
#define MATCH_SRC_SETS 8
#define MATCH_DST_SETS 16

#define MATCH_SETS 8       /* named sets, a bit each */
#define MATCH_SET_ROWS 256 /* one for each choice of them */

#define MATCH_TRAIT(dscp, fragment) ((fragment) << 6 | (dscp))

/* In front of an image. */
struct match_head {
	u32 src4; /* slots where lookups start */
	u32 dst4;
	u32 src6;
	u32 dst6;
	u32 sport;
	u32 dport;
	u32 kinds;   /* rows by direction and family, MATCH_TABLES of 256 each */
	u32 places;  /* of the bits of each word, by entry */
	u32 beside;  /* what the function keeps for each rule, the default first */
	u32 src_mac; /* slots again, 0 without that bit of SELF_ASKS */
	u32 dst_mac;
	u32 length;
	u32 traits;   /* rows by MATCH_TRAIT, 256 */
	u32 src_sets; /* rows by the sets that an address is in, MATCH_SET_ROWS */
	u32 dst_sets;
};

/* A prefix that keys are compared with, where they go if it is another's, and where if it is theirs. */
struct match_node {
	u64 key[2];
	u64 mask[2];
	u32 other;
	u32 slots[256]; /* only one without MATCH_SELECT */
};

#endif /* NFV_MATCH_H */
