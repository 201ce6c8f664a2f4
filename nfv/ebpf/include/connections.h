/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The connections of a stateful firewall: one entry for both directions, found by the two endpoints in
 * ascending order. Entries are made by packets that the rules admit, and aged by the agent
 * (nfv/functions/firewall.py); nothing here waits or sweeps.
 */
#include "parse.h"
#include "quoted.h"
#include "datagrams.h"

enum self_state {
	SELF_STATE_NEW = 0,         /* one direction seen */
	SELF_STATE_REPLIED = 1,     /* both directions seen; TCP: SYN answered */
	SELF_STATE_ESTABLISHED = 2, /* TCP: handshake done, or picked up in the middle */
	SELF_STATE_CLOSING = 3,     /* TCP: a FIN was seen */
	SELF_STATE_CLOSED = 4,      /* TCP: FIN both ways, or RST */
};

/* What a segment is to its connection. */
enum self_fit {
	SELF_FITS = 0,
	SELF_LET = 1,   /* passes, and changes nothing */
	SELF_WRONG = 2, /* none of its: dropped */
};

#if SELF_STRICT
#include "winstate.h"
#endif

#define SELF_FIN_LOW 1     /* FIN from the lower endpoint */
#define SELF_FIN_HIGH 2    /* FIN from the higher endpoint */
#define SELF_ORIGIN_HIGH 4 /* the higher endpoint sent the first packet */

struct self_connection {
	u32 seen;    /* jiffies of the last packet, give or take SELF_SEEN_SLACK */
	u32 counter; /* of the rule that admitted it */
	u8 state;    /* enum self_state */
	u8 flags;
	u16 reserved;
	u32 since; /* jiffies of the first packet */
#if SELF_STRICT
	struct self_strict strict;
#endif
};

struct self_key4 {
	u32 low, high; /* addresses */
	u16 low_port, high_port;
	u32 protocol;
};

struct self_key6 {
	u32 low[4], high[4];
	u16 low_port, high_port;
	u32 protocol;
};

/* How old `seen` may be before it is written again: saves a dirty cache line for most packets. */
#define SELF_SEEN_SLACK 64

BPF_TABLE("hash", struct self_key4, struct self_connection, self_connections4, 1);
BPF_TABLE("hash", struct self_key6, struct self_connection, self_connections6, 1);

/* A connection's name, and which of its endpoints is the source. */
struct self_tuple {
	union {
		struct self_key4 key4;
		struct self_key6 key6;
	};
	u32 from_high;
};

/*
 * Exchanges two values, or not, without a branch: the compiler would make a choice of pointers of it,
 * which the verifier does not follow.
 */
#define SELF_ORDER(low, high, from, to, mask)                                                      \
	do {                                                                                       \
		u32 __difference = ((from) ^ (to)) & (mask);                                       \
		(low) = (from) ^ __difference;                                                     \
		(high) = (to) ^ __difference;                                                      \
	} while (0)

static __always_inline void self_tuple4(struct self_tuple *tuple, u32 src, u32 dst, u16 sport,
					u16 dport, u8 protocol)
{
	struct self_key4 *key = &tuple->key4;
	u32 swap = src > dst || (src == dst && sport > dport);

	tuple->from_high = swap;
	SELF_ORDER(key->low, key->high, src, dst, -swap);
	SELF_ORDER(key->low_port, key->high_port, sport, dport, -swap);
	key->protocol = protocol;
}

/* Whether endpoint a is the higher one. Any order serves, as long as both directions agree on it. */
static __always_inline u32 self_above(const u32 *a, const u32 *b, u16 a_port, u16 b_port)
{
	u64 a_high = (u64)a[0] << 32 | a[1], b_high = (u64)b[0] << 32 | b[1];
	u64 a_low = (u64)a[2] << 32 | a[3], b_low = (u64)b[2] << 32 | b[3];

	if (a_low != b_low)
		return a_low > b_low;
	if (a_high != b_high)
		return a_high > b_high;
	return a_port > b_port;
}

static __always_inline void self_tuple6(struct self_tuple *tuple, const u32 *src, const u32 *dst,
					u16 sport, u16 dport, u8 protocol)
{
	struct self_key6 *key = &tuple->key6;
	u32 swap = self_above(src, dst, sport, dport);

	tuple->from_high = swap;
#pragma unroll
	for (int i = 0; i < 4; i++)
		SELF_ORDER(key->low[i], key->high[i], src[i], dst[i], -swap);
	SELF_ORDER(key->low_port, key->high_port, sport, dport, -swap);
	key->protocol = protocol;
}

static __always_inline struct self_connection *self_find(u8 family, struct self_tuple *tuple)
{
	if (family == 4)
		return self_connections4.lookup(&tuple->key4);
	return self_connections6.lookup(&tuple->key6);
}

static __always_inline int self_is_echo(const struct nf_packet *pkt)
{
	return quoted_echo(pkt->protocol, bpf_ntohs(pkt->dport) >> 8);
}

/*
 * An echo's identifier stands for the port of the side that asks: its reply has the same name, a
 * request from the other side has not.
 */
static __always_inline void self_echo_ports(int echo, u16 id, u16 *sport, u16 *dport)
{
	*sport = echo == 1 ? id : 0;
	*dport = echo == 1 ? 0 : id;
}

static __always_inline void self_name(struct self_tuple *tuple, const struct nf_packet *pkt)
{
	u16 sport = pkt->sport, dport = pkt->dport;

	if (pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6)
		self_echo_ports(self_is_echo(pkt), pkt->echo_id, &sport, &dport);
	if (pkt->family == 4)
		self_tuple4(tuple, pkt->src[0], pkt->dst[0], sport, dport, pkt->protocol);
	else
		self_tuple6(tuple, pkt->src, pkt->dst, sport, dport, pkt->protocol);
}

/* Let a segment change its connection's state (RFC 9293, section 3.3.2, as seen from the middle). */
static __always_inline void self_tcp(struct self_connection *found, u8 flags, u32 from_high)
{
	/* Stragglers do not open it again: only a SYN may, as another connection. */
	if (found->state == SELF_STATE_CLOSED)
		return;
	if (flags & TCP_RST) {
		found->state = SELF_STATE_CLOSED;
		return;
	}
	if (flags & TCP_FIN) {
		found->flags |= from_high ? SELF_FIN_HIGH : SELF_FIN_LOW;
		found->state = (found->flags & 3) == 3 ? SELF_STATE_CLOSED : SELF_STATE_CLOSING;
		return;
	}
	if (found->state == SELF_STATE_NEW && from_high != !!(found->flags & SELF_ORIGIN_HIGH))
		found->state = SELF_STATE_REPLIED;
	else if (found->state == SELF_STATE_REPLIED && (flags & (TCP_SYN | TCP_ACK)) == TCP_ACK &&
		 from_high == !!(found->flags & SELF_ORIGIN_HIGH))
		found->state = SELF_STATE_ESTABLISHED;
}

#if SELF_STRICT
#include "windows.h"
#else
#define self_odd_flags(flags) 0
#define self_read_segment(ctx, pkt) 1
#define self_begin_windows(fresh, flags, from_high)
#define self_checked(found, flags, from_high) SELF_FITS
#define self_is_over(found) 1
#endif

/*
 * Whether the next packet of this direction may change the connection. Those of UDP never do: it is
 * the other direction's first that does.
 */
static __always_inline int self_changing(const struct nf_packet *pkt,
					 const struct self_connection *found)
{
	return pkt->protocol == IPPROTO_TCP &&
	       (SELF_STRICT || found->state != SELF_STATE_ESTABLISHED);
}

/* Note what a packet says of its connection. */
static __always_inline void self_heed(struct self_connection *found, const struct nf_packet *pkt,
				      u32 from_high)
{
	u32 now = bpf_jiffies64();

	if (now - found->seen > SELF_SEEN_SLACK)
		found->seen = now;
	if (pkt->protocol == IPPROTO_TCP)
		self_tcp(found, pkt->tcp_flags, from_high);
	else if (found->state == SELF_STATE_NEW && from_high != !!(found->flags & SELF_ORIGIN_HIGH))
		found->state = SELF_STATE_REPLIED;
}

/* A packet of a known connection: note what it says, count it for the rule that admitted it. */
static __always_inline int self_continue(struct self_connection *found, struct nf_packet *pkt,
					 u32 from_high)
{
	int fit = SELF_FITS;

	if (SELF_STRICT && pkt->protocol == IPPROTO_TCP)
		fit = self_checked(found, pkt->tcp_flags, from_high);
	if (fit == SELF_WRONG)
		return nf_drop(pkt, NF_REASON_INVALID);
	if (fit == SELF_FITS)
		self_heed(found, pkt, from_high);
	self_count(found->counter, pkt);
	pkt->counter = found->counter;
	pkt->fleeting |= self_changing(pkt, found);
	return NF_NEXT;
}

/* The ports of a quoted packet, from 8 bytes behind its IP header; 0 for an ICMP that is no echo. */
static __always_inline int self_quoted_ports(u8 protocol, const u16 *header, u16 *sport, u16 *dport)
{
	*sport = header[0];
	*dport = header[1];
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		int echo = quoted_echo(protocol, *(const u8 *)header);

		self_echo_ports(echo, header[2], sport, dport);
		return echo;
	}
	return 1;
}

/* Names the connection of a packet that an ICMP error quotes; 0 if it is not to be made out. */
static __always_inline int self_quoted4(nf_ctx *ctx, struct self_tuple *tuple,
					const struct nf_packet *pkt)
{
	u32 offset = pkt->l4_offset + sizeof(struct icmphdr);
	struct iphdr *ip = quoted_at(ctx, pkt, offset, sizeof(*ip));
	u16 *ports, sport, dport;

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->saddr != pkt->dst[0] ||
	    ip->frag_off & bpf_htons(PARSE_IP_OFFSET_MASK))
		return 0;
	ports = quoted_at(ctx, pkt, offset + ip->ihl * 4, 8);
	if (!ports || !self_quoted_ports(ip->protocol, ports, &sport, &dport))
		return 0;
	self_tuple4(tuple, ip->saddr, ip->daddr, sport, dport, ip->protocol);
	return 1;
}

static __always_inline int self_quoted6(nf_ctx *ctx, struct self_tuple *tuple,
					const struct nf_packet *pkt)
{
	u32 offset = pkt->l4_offset + sizeof(struct icmphdr);
	struct ipv6hdr *ip = quoted_at(ctx, pkt, offset, sizeof(*ip));
	u32 src[4], dst[4];
	u16 *ports, sport, dport;
	u8 protocol;

	if (!ip || ip->version != 6)
		return 0;
	__builtin_memcpy(src, &ip->saddr, 16);
	__builtin_memcpy(dst, &ip->daddr, 16);
	if (src[0] != pkt->dst[0] || src[1] != pkt->dst[1] || src[2] != pkt->dst[2] ||
	    src[3] != pkt->dst[3])
		return 0;
	protocol = ip->nexthdr;
	offset += sizeof(*ip);
	ports = quoted_at(ctx, pkt, offset, 8);
	if (ports && protocol == IPPROTO_FRAGMENT) {
		struct parse_fragment *fragment = (void *)ports;

		if (fragment->offset & bpf_htons(PARSE_FRAGMENT_OFFSET_MASK))
			return 0;
		protocol = fragment->next_header;
		ports = quoted_at(ctx, pkt, offset + sizeof(struct parse_fragment), 8);
	}
	if (!ports || !self_quoted_ports(protocol, ports, &sport, &dport))
		return 0;
	self_tuple6(tuple, src, dst, sport, dport, protocol);
	return 1;
}

/*
 * An ICMP error passes when the packet it quotes belongs to a known connection, and it goes to that
 * packet's sender.
 */
static __always_inline int self_related(nf_ctx *ctx, struct nf_packet *pkt, u32 *counter)
{
	struct self_tuple tuple = {};
	struct self_connection *found = 0;

	if (pkt->family == 4 ? self_quoted4(ctx, &tuple, pkt) : self_quoted6(ctx, &tuple, pkt))
		found = self_find(pkt->family, &tuple);
	if (!found)
		return nf_drop(pkt, NF_REASON_INVALID);
	*counter = found->counter;
	self_count(*counter, pkt);
	return NF_NEXT;
}

/* Later fragments have no ports: they go the way of their datagram's first. */
static __always_inline int self_later(struct nf_packet *pkt)
{
	u32 *counter = self_noted_datagram(pkt);

	if (!counter)
		return nf_drop(pkt, NF_REASON_FRAGMENT);
	self_count(*counter, pkt);
	return NF_NEXT;
}

/* Flags that no TCP sends (RFC 9293, section 3.10.7): none, SYN with FIN or RST, FIN alone. */
static __always_inline int self_bad_flags(u8 flags)
{
	if (flags & TCP_SYN)
		return flags & (TCP_FIN | TCP_RST);
	return !(flags & (TCP_ACK | TCP_RST));
}

/* What only a connection that is there can have: an echo reply, a SYN's acknowledgement. */
static __always_inline int self_is_answer(const struct nf_packet *pkt)
{
	if (pkt->protocol == IPPROTO_TCP) {
		u8 flags = pkt->tcp_flags & (TCP_SYN | TCP_ACK);

		return flags == (TCP_SYN | TCP_ACK) || (!SELF_PICKUP && flags != TCP_SYN);
	}
	return (pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6) &&
	       self_is_echo(pkt) == 2;
}

/* Whether the packet may start a connection; 0 if it is only matched and not remembered. */
static __always_inline int self_remembered(const struct nf_packet *pkt)
{
	if (pkt->protocol == IPPROTO_TCP)
		return !(pkt->tcp_flags & TCP_RST);
	if (pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6)
		return self_is_echo(pkt);
	return 1;
}

static __always_inline int self_remember(struct nf_packet *pkt, struct self_tuple *tuple,
					 u32 counter)
{
	u32 now = bpf_jiffies64();
	struct self_connection fresh = {
		.seen = now,
		.since = now,
		.counter = counter,
		.flags = tuple->from_high ? SELF_ORIGIN_HIGH : 0,
	};
	int failed;

	/* Picked up in the middle, as Linux does: there was a handshake before this firewall. */
	if (pkt->protocol == IPPROTO_TCP && !(pkt->tcp_flags & TCP_SYN))
		fresh.state = SELF_STATE_ESTABLISHED;
	if (pkt->protocol == IPPROTO_TCP)
		self_begin_windows(&fresh, pkt->tcp_flags, tuple->from_high);
	pkt->fleeting |= self_changing(pkt, &fresh);
	if (pkt->family == 4)
		failed = self_connections4.update(&tuple->key4, &fresh);
	else
		failed = self_connections6.update(&tuple->key6, &fresh);
	return failed ? nf_drop(pkt, NF_REASON_TABLE_FULL) : NF_NEXT;
}

/* A closed connection's ports may be used again by a SYN: that is another connection. */
static __always_inline int self_reopened(const struct self_connection *found,
					 const struct nf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP && found->state == SELF_STATE_CLOSED &&
	       self_is_over(found) && (pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline int self_track(nf_ctx *ctx, struct nf_packet *pkt, u32 direction)
{
	int icmp = pkt->protocol == IPPROTO_ICMP || pkt->protocol == IPPROTO_ICMPV6;
	struct self_tuple tuple = {};
	struct self_connection *found = 0;
	u32 counter = 0;
	int verdict;

	if (pkt->fragment == NF_FRAGMENT_LATER)
		return self_later(pkt);
	/* RFC 1858: a transport header cut by fragmentation or by its sender hides its ports. */
	if (!pkt->has_l4 && (icmp || pkt->protocol == IPPROTO_TCP || pkt->protocol == IPPROTO_UDP))
		return nf_drop(pkt, NF_REASON_MALFORMED);
	if (pkt->protocol == IPPROTO_TCP &&
	    (self_bad_flags(pkt->tcp_flags) || self_odd_flags(pkt->tcp_flags)))
		return nf_drop(pkt, NF_REASON_INVALID);
	if (pkt->protocol == IPPROTO_TCP && !self_read_segment(ctx, pkt))
		return nf_drop(pkt, NF_REASON_MALFORMED);
	/* Of ICMP, only echoes have connections. */
	if (!icmp || self_is_echo(pkt)) {
		self_name(&tuple, pkt);
		found = self_find(pkt->family, &tuple);
	}
	if (icmp && quoted_is_error(pkt)) {
		verdict = self_related(ctx, pkt, &counter);
	} else if (found && !self_reopened(found, pkt)) {
		verdict = self_continue(found, pkt, tuple.from_high);
		counter = found->counter;
	} else {
		if (self_is_answer(pkt))
			return nf_drop(pkt, NF_REASON_INVALID);
		verdict = self_judge(ctx, pkt, direction, &counter);
		if (verdict != NF_NEXT)
			return verdict;
		if (self_remembered(pkt))
			verdict = self_remember(pkt, &tuple, counter);
	}
	if (verdict == NF_NEXT && pkt->fragment == NF_FRAGMENT_FIRST)
		self_note_datagram(pkt, counter);
	return verdict;
}
