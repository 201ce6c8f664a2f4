/* SPDX-License-Identifier: GPL-2.0 */
/* The contract between a chain's program and the network functions in it. */
#ifndef NFV_NF_H
#define NFV_NF_H

#include "hook.h"

/*
 * A constant that is known when the program is loaded, not when it is compiled: a port number, an
 * interface's ordinal. The loader writes the value into the instruction, so the verifier and the JIT
 * see an immediate, and programs that differ only in such values share one compilation.
 */
#define NF_LINK_MAGIC 0x4e46560000000000ull
#define NF_LINK(number)                                                                            \
	({                                                                                         \
		u64 __value;                                                                       \
		asm volatile("%0 = %1 ll" : "=r"(__value) : "i"(NF_LINK_MAGIC | (number)));        \
		__value;                                                                           \
	})

/*
 * A table that is one value as large as all its entries: BPF_F_TABLE(..., NF_FLAT, BPF_F_MMAPABLE). A
 * program has its address as an immediate, so an entry costs an addition, where a lookup costs a call
 * or a dozen instructions; an index must be known to be in range. `table.sk_storage_get(0, 0, 0)` is
 * how to say the address: bcc writes a map's descriptor only as the argument of a helper, and this
 * helper's name serves no other purpose here. The loader makes the descriptor the address.
 */
#define NF_FLAT 2
#define bpf_sk_storage_get(table, ...) ((void *)(table))

/* Headers deeper than this are not looked for. */
#define NF_OFFSET_MASK 0x3ff

/* What a function says of a packet. */
enum nf_verdict {
	NF_NEXT = 0, /* go on to the next function of the chain */
	NF_DROP,
	NF_FORWARD, /* leave the function by the interface whose port is pkt->egress */
	NF_PUNT,    /* to the kernel of the function's namespace */
	NF_REJECT,  /* drop, and tell the sender by a TCP reset or an ICMP error */
	NF_SERVE,   /* to the function's service, which sends it on or answers it */
	NF_ANSWER,  /* the frame was turned into its answer, and goes back the way that it came */
	NF_FLOOD,   /* a copy leaves the function by every other of its ports */
};

/* The way of a packet along the path of its chain. */
enum nf_direction {
	NF_DIR_FORWARD = 0, /* from the path's first attachment to its last */
	NF_DIR_REVERSE = 1,
};

/*
 * Why a packet left the walk where it did. The comment of each is what `nfvctl stats` prints; user
 * space reads both from here.
 */
enum nf_reason {
	NF_REASON_NONE = 0,         /* no reason given */
	NF_REASON_FORWARDED = 1,    /* forwarded */
	NF_REASON_MALFORMED = 2,    /* header cut short or contradictory */
	NF_REASON_CHECKSUM = 3,     /* IPv4 header checksum wrong */
	NF_REASON_RULE = 4,         /* dropped by a rule */
	NF_REASON_REJECTED = 5,     /* rejected by a rule, sender told */
	NF_REASON_REJECT_LIMIT = 6, /* rejected, sender not told: too many, or not allowed */
	NF_REASON_INVALID = 7,      /* belongs to no connection and cannot start one */
	NF_REASON_TABLE_FULL = 8,   /* connection table full */
	NF_REASON_FRAGMENT = 9,     /* fragment without its first fragment */
	NF_REASON_ETHERTYPE = 10,   /* neither IP nor ARP, and the default is to drop */
	NF_REASON_OTHER_HOST = 11,  /* for another station's MAC address */
	NF_REASON_BLACKHOLE = 12,   /* blackhole route */
	NF_REASON_SOURCE = 13,      /* source address that no host may send from */
	NF_REASON_NO_CHAIN = 14,    /* no chain's classifier matched */
	NF_REASON_LOOP = 15,        /* passed too many routers */
	NF_REASON_LOCAL = 16,       /* to the kernel: for the router itself, or unresolved */
	NF_REASON_TTL = 17,         /* to the kernel: TTL or hop limit used up */
	NF_REASON_TOO_BIG = 18,     /* to the kernel: larger than the egress MTU */
	NF_REASON_OPTIONS = 19,     /* to the kernel: IP options or hop-by-hop header */
	NF_REASON_LINK_LOCAL = 20,  /* to the kernel: multicast, broadcast or link-local */
	NF_REASON_CONTROL = 21,     /* to the kernel: ARP or another control protocol */
	NF_REASON_PADDING = 22,     /* to the kernel: frame longer than its packet */
	NF_REASON_SERVICE = 23,     /* to the function's service */
	NF_REASON_ANSWERED = 24,    /* answered by the function on the fast path */
	NF_REASON_ROGUE = 25,       /* answer of a DHCP server that is not the chain's */
	NF_REASON_LIMITED = 26,     /* more queries from one place than are answered */
	NF_REASON_FLOODED = 27,     /* sent to all other ports of a switch or hub */
	NF_REASON_SAME_PORT = 28,   /* destination is behind the port that it came in by */
	NF_REASON_RESERVED = 29,    /* group address that bridges do not forward */
	NF_REASON_VLAN = 30,        /* VLAN that the port is no member of */
	NF_REASON_ISOLATED = 31,    /* from an isolated port to another one */
	NF_REASON_STATION = 32,     /* source address that the port may not have, or one too many */
	NF_REASON_STORM = 33,       /* flooded more often than the port may */
	NF_REASON_UNSOLICITED = 34, /* to an outside address, where no mapping lets it in */
	NF_REASON_PORTS = 35,       /* no outside address and port are free */
	NF_REASON_HAIRPIN = 36,     /* from inside to an outside address: turned back */
	NF_REASON_QUOTA = 37,       /* the inside address has as many ports or mappings as it may */
	NF_REASON_REVERSE_PATH = 38, /* the way back to its source leads elsewhere, or nowhere */
	NF_REASON_COUNT = 64,        /* size of the tables that count by reason */
};

/* The place of a packet in its datagram. */
enum nf_fragment {
	NF_FRAGMENT_NONE = 0,
	NF_FRAGMENT_FIRST = 1,
	NF_FRAGMENT_LATER = 2,
};

/*
 * A packet on its walk, parsed once. Addresses and ports are in network order, lengths in bytes.
 * For ICMP and ICMPv6 dport is type * 256 + code in network order, sport 0, and echo_id the identifier
 * of an echo.
 *
 * Functions edit it, not the frame: `edits` says what differs from the frame.
 *
 * It lives in a per-CPU map, not on the stack: the verifier does not follow what is stored there, so
 * the paths of a long chain meet again instead of multiplying, and a program that is reached by a tail
 * call finds it as it was.
 */
#define NF_PATH_LENGTH 26 /* functions that a walk can count */

/* What functions have changed of a packet: written into the frame once, when the walk ends. */
enum nf_edit {
	NF_EDIT_HOP = 1, /* ttl and macs */
	NF_EDIT_SRC = 2,
	NF_EDIT_DST = 4,
	NF_EDIT_SPORT = 8,
	NF_EDIT_DPORT = 16,
	NF_EDIT_ECHO = 32, /* echo_id */
	NF_EDIT_DSCP = 64,
};

/* What the matcher has found of a packet's fields: here, as the verifier need not follow it. */
struct nf_rows {
	u32 src;
	u32 dst;
	u32 kind;
	u32 sport;
	u32 dport;
	u32 src_mac; /* from here on only what rules ask for */
	u32 dst_mac;
	u32 length;
	u32 traits;
	u32 src_sets;
	u32 dst_sets;
	u32 mac[4]; /* the key of a MAC address's lookup */
	u32 first;
};

struct nf_packet {
	u32 src[4]; /* IPv4 in src[0] */
	u32 dst[4];
	struct hook_wire wire; /* unless HOOK_WHOLE, where frame_length says it */
	u32 frame_length;      /* with the Ethernet header */
	u32 packet_length;     /* as the IP header says, from the IP header on */
	u32 fragment_id;
	u32 egress;   /* port to leave by */
	u32 next_hop; /* of the last router, as it numbers them */
	u32 tx;       /* port at the end of the egress chain, or where its walk goes on */
	u32 place; /* in the walk, where the packet was rejected or answered, or where it resumes */
	u32 epoch; /* of the tables, when the walk began */
	u32 stage; /* of the service of the function that the packet is at */
	u32 told;  /* what the program behind a switch's port is told, see ports.h */
	u32 counted[NF_PATH_LENGTH]; /* by each function passed: its number * 65536 + place */
	struct nf_rows rows;
	u16 counter;           /* place where the last function counted */
	u16 mtu;               /* of the way so far */
	u8 macs[2 * ETH_ALEN]; /* destination and source, if edited */
	u8 edits;              /* enum nf_edit */
	u8 hops;               /* routers passed */
	u8 fleeting;           /* the next packet of the flow must walk too */
	u16 ethertype;         /* host order; a VLAN tag is one, what follows it is not read */
	u16 l4_offset;         /* of the transport header, from the start of the frame */
	u16 sport;
	u16 dport;
	u16 echo_id;
	u8 family;   /* 4, 6, or 0 for anything else */
	u8 protocol; /* behind IPv6 extension headers */
	u8 ttl;
	u8 dscp; /* if edited */
	u8 tcp_flags;
	u8 fragment; /* enum nf_fragment */
	u8 has_l4;   /* ports or ICMP type were there to read */
	u8 options;  /* IPv4 options, or IPv6 hop-by-hop header */
	u8 reason;   /* enum nf_reason */
	u8 answered; /* the frame was turned into its answer */
} __attribute__((aligned(8)));

struct nf_counter {
	u64 packets;
	u64 bytes;
};

/*
 * Where many paths meet in front of long code: what was found out is in the packet's context, not in
 * registers. Otherwise the compiler copies the code for every outcome, and the verifier walks them all.
 */
#define NF_BARRIER(pkt) asm volatile("" : "+r"(pkt) : : "memory")

/* Hide from the compiler how a value came about: it keeps it, and does not work it out once more. */
#define NF_OPAQUE(value) asm volatile("" : "+r"(value))

static __always_inline int nf_drop(struct nf_packet *pkt, u8 reason)
{
	pkt->reason = reason;
	return NF_DROP;
}

static __always_inline int nf_punt(struct nf_packet *pkt, u8 reason)
{
	pkt->reason = reason;
	return NF_PUNT;
}

static __always_inline int nf_serve(struct nf_packet *pkt, u8 reason)
{
	pkt->reason = reason;
	return NF_SERVE;
}

static __always_inline int nf_answer(struct nf_packet *pkt, u8 reason)
{
	pkt->reason = reason;
	return NF_ANSWER;
}

/* `size` bytes at an offset of the frame, or NULL if it ends before. */
static __always_inline void *nf_at(nf_ctx *ctx, u32 offset, u32 size)
{
	void *at = hook_data(ctx) + (offset & NF_OFFSET_MASK);

	return at + size > hook_end(ctx) ? 0 : at;
}

/* The IP header, if there are `size` bytes of it. */
static __always_inline void *nf_l3(nf_ctx *ctx, u32 size)
{
	return nf_at(ctx, sizeof(struct ethhdr), size);
}

static __always_inline void nf_add(struct nf_counter *counter, const struct hook_wire *wire)
{
	counter->packets += wire->frames;
	counter->bytes += wire->bytes;
}

/* Count a packet as what goes over the wire for it. */
static __always_inline void nf_count(struct nf_counter *counter, const struct nf_packet *pkt)
{
	if (!HOOK_WHOLE) {
		nf_add(counter, &pkt->wire);
		return;
	}
	counter->packets++;
	counter->bytes += pkt->frame_length;
}

/* The length that an MTU limits. */
static __always_inline u32 nf_largest(const struct nf_packet *pkt)
{
	return HOOK_WHOLE ? pkt->packet_length : pkt->wire.largest;
}

#endif /* NFV_NF_H */
