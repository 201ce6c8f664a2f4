/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is known of a TCP connection's sequence numbers: for each side how far it has sent, and how far it
 * may, as the other side's acknowledgements and windows say.
 *
 * All are plain stores of numbers that only grow (RFC 1982), without a lock. What the two sides send may
 * be looked at on two CPUs at once: a segment comes long after what it answers, so each finds there what
 * it needs. Of two segments of one side at the same moment, one's store may be lost, until the next
 * segment makes good for it.
 */

/* What is known of one side. Sequence numbers are its own, but for `acked`. */
struct self_window {
	u32 end;   /* behind the last that it has sent: SND.NXT of RFC 9293 */
	u32 most;  /* as far as the other side has let it send */
	u32 width; /* the widest window that it has offered; 0: nothing was seen of it */
	u32 acked; /* what it expects next: the other side's number, if SELF_ACKED is set */
};

/* Bits of self_connection.marks. The first two are shifted by the side. */
#define SELF_ACKED 1         /* it has acknowledged something */
#define SELF_SCALED 4        /* its SYN had the option of window scaling */
#define SELF_SIMULTANEOUS 16 /* both sides sent a SYN (RFC 9293, section 3.5) */
#define SELF_LIBERAL 32      /* not seen from its beginning: nothing is dropped by its window */
#define SELF_NOTED 64        /* there is a note, see self_take_note */
#define SELF_OVER 128        /* a RST, or FINs of both sides and an ACK: a SYN may begin anew */

struct self_strict {
	struct self_window windows[2]; /* of the lower endpoint and of the higher */
	u32 noted;
	u8 scales[2]; /* shift counts of their windows */
	u16 marks;
};
