/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which segments of a known TCP connection may be its own, by their sequence numbers: G. van Rooij,
 * "Real stateful TCP packet filtering in IP Filter" (2000), with window scaling (RFC 7323), and resets
 * and SYNs as RFC 5961 has them.
 */
#include "segments.h"

/* How far an acknowledgement may lie behind what was sent, whatever window was offered. */
#define SELF_LATE 66000

/*
 * 1 if one sequence number lies behind another (RFC 9293, section 3.4), and 0 otherwise. It is a number, as
 * what follows from it is put together without branches: the verifier walks every outcome of a branch.
 */
static __always_inline u32 self_is_behind(u32 a, u32 b)
{
	u32 difference = b - a;

	NF_OPAQUE(difference);
	return difference >> 31;
}

static __always_inline void self_grow(u32 *value, u32 to)
{
	*value += (to - *value) & -self_is_behind(to, *value);
}

/* What a side offers; a window of nothing lets one byte through, the probe of it. */
static __always_inline u32 self_offered(u32 window)
{
	return window ? window : 1;
}

/* The first segment of a side, or another SYN of its: all that is known of it begins here. */
static __always_inline void self_open(struct self_connection *found,
				      const struct self_segment *segment, u32 side)
{
	struct self_window *sender = &found->strict.windows[side];

	sender->end = segment->end;
	sender->most = segment->end;
	sender->width = self_offered(segment->window);
	found->strict.scales[side] = segment->scale;
	found->strict.marks &= ~(SELF_SCALED << side);
	found->strict.marks |= segment->scaled ? SELF_SCALED << side : 0;
}

/* RFC 7323, section 2.2: windows are scaled if the SYNs of both sides have the option. */
static __always_inline void self_agree(struct self_strict *strict)
{
	u32 both = SELF_SCALED | SELF_SCALED << 1;

	if ((strict->marks & both) == both)
		return;
	strict->scales[0] = 0;
	strict->scales[1] = 0;
}

/* The first segment of a side of which no SYN was seen. */
static __always_inline void self_pick_up(struct self_connection *found,
					 const struct self_segment *segment, u32 side)
{
	struct self_window *sender = &found->strict.windows[side];
	struct self_window *receiver = &found->strict.windows[side ^ 1];

	found->strict.scales[side] = SELF_MAX_SCALE;
	sender->end = segment->end;
	sender->width = self_offered(segment->window << SELF_MAX_SCALE);
	sender->most = segment->end + sender->width;
	if (!receiver->width) {
		receiver->end = segment->ack;
		receiver->most = segment->ack;
	}
}

/* A connection's first packet. */
static __always_inline void self_begin_windows(struct self_connection *fresh, u8 flags, u32 side)
{
	struct self_segment *segment = self_segment_at();

	if (!segment)
		return;
	if (flags & TCP_SYN) {
		self_open(fresh, segment, side);
		return;
	}
	self_pick_up(fresh, segment, side);
	fresh->strict.marks |= SELF_LIBERAL;
}

/*
 * What a connection's state says of a segment, whatever its numbers. What is let through, and changes
 * nothing, may tell one end that the other knows nothing of the connection, and is answered by it: a SYN
 * by an acknowledgement (RFC 5961, section 4), and that by a RST.
 */
static __always_inline int self_expected(const struct self_connection *found, u8 flags, u32 answers)
{
	int opening = found->state == SELF_STATE_NEW;
	int simultaneous = found->strict.marks & SELF_SIMULTANEOUS;

	if (flags & TCP_RST)
		return SELF_FITS;
	if ((flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return opening ? SELF_FITS : answers ? SELF_WRONG : SELF_LET;
	if (flags & TCP_SYN) {
		int again = found->state == SELF_STATE_REPLIED;

		if (!answers)
			return again || (opening && simultaneous) ? SELF_FITS : SELF_WRONG;
		return opening || (again && simultaneous) ? SELF_FITS : SELF_LET;
	}
	if (!opening)
		return SELF_FITS;
	return answers && !(flags & TCP_FIN) ? SELF_LET : SELF_WRONG;
}

/*
 * Remember of a segment that is let through what its answer will say: the side that began has lost the
 * connection and begins anew. If the other side has lost it too, and answers the SYN, then what is known
 * here is of no use any more. If it has not, its next segment says so.
 */
static __always_inline void self_take_note(struct self_connection *found,
					   const struct self_segment *segment, u8 flags,
					   u32 answers)
{
	struct self_strict *strict = &found->strict;
	int syn = flags & TCP_SYN;

	if (found->state == SELF_STATE_REPLIED)
		return;
	if (!answers && syn) {
		strict->noted = segment->end;
		strict->marks |= SELF_NOTED;
	} else if (!syn) {
		strict->noted = segment->ack;
		strict->marks |= SELF_NOTED;
	} else if (strict->marks & SELF_NOTED && segment->ack == strict->noted) {
		strict->marks = SELF_LIBERAL;
		found->flags &= ~(SELF_FIN_LOW | SELF_FIN_HIGH);
		found->state = SELF_STATE_REPLIED;
	}
}

/* Whether a segment acknowledges what the other side has sent, and that not too long ago. */
static __always_inline u32 self_acks(const struct self_window *sender,
				     const struct self_window *receiver, u32 ack)
{
	u32 late = SELF_LATE;

	self_grow(&late, sender->width);
	return !(self_is_behind(ack, receiver->end) | self_is_behind(receiver->end - late, ack));
}

/*
 * RFC 5961, section 3.2: a RST has to have the very number that the receiver expects. That is what it
 * has acknowledged, or what follows the last byte sent, if that is under way. Where it is only in the
 * window it is let through and changes nothing, as the receiver answers it with an acknowledgement. RFC
 * 9293, section 3.10.7.3: a RST that answers a SYN acknowledges it.
 */
static __always_inline int self_resets(const struct self_connection *found,
				       const struct self_segment *segment, u8 flags, u32 side,
				       u32 answers)
{
	const struct self_strict *strict = &found->strict;
	const struct self_window *sender = &strict->windows[side];
	const struct self_window *receiver = &strict->windows[side ^ 1];
	int noted = strict->marks & SELF_NOTED;
	int acked = strict->marks & SELF_ACKED << (side ^ 1);
	u32 first = acked ? receiver->acked : sender->end - receiver->width;

	if (found->state == SELF_STATE_CLOSED)
		return SELF_LET;
	if (found->state == SELF_STATE_NEW) {
		if (answers && !sender->width)
			return flags & TCP_ACK && self_acks(sender, receiver, segment->ack)
				       ? SELF_FITS
				       : SELF_WRONG;
		if (noted && !answers && segment->seq == strict->noted)
			return SELF_FITS;
	} else if (noted && answers && flags & TCP_ACK && segment->ack == strict->noted) {
		return SELF_LET;
	}
	/* Some TCPs set ACK without a number. */
	if (flags & TCP_ACK && segment->ack && receiver->width && !(strict->marks & SELF_LIBERAL) &&
	    self_is_behind(segment->ack, receiver->end))
		return SELF_WRONG;
	if ((sender->width && segment->seq == sender->end) ||
	    (acked && segment->seq == receiver->acked))
		return SELF_FITS;
	if ((acked || sender->width) && self_is_behind(first, segment->seq))
		return SELF_WRONG;
	if (strict->marks & SELF_LIBERAL || !sender->width)
		return SELF_LET;
	return self_is_behind(segment->seq, sender->most) ? SELF_WRONG : SELF_LET;
}

/* Whether a segment meets the window: it may begin before it and end behind it. */
static __always_inline u32 self_inside(const struct self_window *sender,
				       const struct self_window *receiver,
				       const struct self_segment *segment)
{
	u32 known = !!receiver->width;
	u32 right = self_is_behind(segment->seq, sender->most);
	u32 left = known & self_is_behind(sender->end - receiver->width, segment->end);

	return !(right | left) & self_acks(sender, receiver, segment->ack);
}

/* Keep what a segment says that is inside. */
static __always_inline void self_follow(struct self_connection *found,
					const struct self_segment *segment, u8 flags, u32 side)
{
	struct self_strict *strict = &found->strict;
	struct self_window *sender = &strict->windows[side];
	struct self_window *receiver = &strict->windows[side ^ 1];
	u32 window = segment->window;

	if (!(flags & TCP_SYN))
		window <<= strict->scales[side] & 15;
	self_grow(&sender->width, window);
	/* What ends behind the window was sent because it is wider than was seen. */
	if (receiver->width)
		receiver->width +=
			(segment->end - sender->most) & -self_is_behind(segment->end, sender->most);
	self_grow(&sender->end, segment->end);
	if (!(flags & TCP_ACK))
		return;
	self_grow(&receiver->most, segment->ack + self_offered(window));
	if (strict->marks & SELF_ACKED << side)
		self_grow(&sender->acked, segment->ack);
	else
		sender->acked = segment->ack;
	strict->marks |= SELF_ACKED << side;
}

/* What its flags mean for what is known beyond enum self_state. */
static __always_inline void self_mark_state(struct self_connection *found, u8 flags, u32 answers)
{
	struct self_strict *strict = &found->strict;

	if (strict->marks & SELF_NOTED && answers)
		strict->marks &= ~SELF_NOTED;
	if (found->state == SELF_STATE_CLOSED && !(flags & (TCP_FIN | TCP_SYN)))
		strict->marks |= SELF_OVER;
	if (!(strict->marks & SELF_SIMULTANEOUS))
		return;
	if (found->state == SELF_STATE_NEW && flags & TCP_SYN)
		found->state = SELF_STATE_REPLIED;
	else if (found->state == SELF_STATE_REPLIED && answers && !(flags & TCP_SYN))
		found->state = SELF_STATE_ESTABLISHED;
}

/* Whether a SYN of a side, or a first segment, begins what is known of the side. */
static __always_inline int self_opens(const struct self_connection *found,
				      const struct self_segment *segment, u8 flags, u32 side)
{
	const struct self_window *sender = &found->strict.windows[side];

	return flags & TCP_SYN && (!sender->width || (found->state <= SELF_STATE_REPLIED &&
						      self_is_behind(segment->end, sender->end)));
}

/* A segment of a known connection, with flags that a TCP sends, that is no RST. */
static __always_inline int self_weighs(struct self_connection *found, struct self_segment *segment,
				       u8 flags, u32 side, u32 answers)
{
	struct self_window *sender = &found->strict.windows[side];
	struct self_window *receiver = &found->strict.windows[side ^ 1];

	if (!(flags & TCP_ACK))
		segment->ack = receiver->end;
	if (self_opens(found, segment, flags, side)) {
		if (!self_acks(sender, receiver, segment->ack))
			return SELF_WRONG;
		self_open(found, segment, side);
		if (answers)
			self_agree(&found->strict);
		if (answers && !(flags & TCP_ACK)) {
			found->strict.marks |= SELF_SIMULTANEOUS;
			return SELF_LET;
		}
	} else if (!sender->width) {
		self_pick_up(found, segment, side);
	}
	if (self_inside(sender, receiver, segment)) {
		self_follow(found, segment, flags, side);
		self_mark_state(found, flags, answers);
		return SELF_FITS;
	}
	return found->strict.marks & SELF_LIBERAL ? SELF_FITS : SELF_WRONG;
}

/* Whether a closed connection's ports may be taken by another: the last acknowledgement was seen. */
static __always_inline int self_is_over(const struct self_connection *found)
{
	return found->strict.marks & SELF_OVER;
}

static __always_inline int self_fit_of(struct self_connection *found, struct self_segment *segment,
				       u8 flags, u32 from_high)
{
	u32 side = from_high, answers = from_high != !!(found->flags & SELF_ORIGIN_HIGH);
	int fit;

	NF_OPAQUE(side);
	side &= 1;
	NF_OPAQUE(answers);
	fit = self_expected(found, flags, answers);
	if (fit == SELF_LET)
		self_take_note(found, segment, flags, answers);
	if (fit != SELF_FITS)
		return fit;
	if (!(flags & TCP_RST))
		return self_weighs(found, segment, flags, side, answers);
	fit = self_resets(found, segment, flags, side, answers);
	if (fit == SELF_FITS)
		found->strict.marks |= SELF_OVER;
	return fit;
}

/* What to do with a segment of a known connection (enum self_fit). */
static __always_inline int self_checked(struct self_connection *found, u8 flags, u32 from_high)
{
	struct self_segment *segment = self_segment_at();

	if (!segment)
		return SELF_WRONG;
	segment->fit = self_fit_of(found, segment, flags, from_high);
	NF_BARRIER(segment);
	return segment->fit;
}
