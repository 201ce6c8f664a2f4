/* SPDX-License-Identifier: GPL-2.0 */
/* What frames of the generator carry behind their headers, for the sink. */
#ifndef NFV_STAMP_H
#define NFV_STAMP_H

/* In the machine's byte order, as both ends are one machine; it fits in the shortest UDP datagram. */
struct stamp {
	u16 trial; /* number of the trial, by which late frames are told from others */
	u32 flow;
	u32 sequence; /* of all frames of the trial */
	u64 time;     /* when the frame was due, by CLOCK_MONOTONIC in nanoseconds; 0: not timed */
} __attribute__((packed));

#endif /* NFV_STAMP_H */
