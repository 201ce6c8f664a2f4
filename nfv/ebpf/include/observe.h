/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Notes of an observed walk: where a packet is, what was said of it, its frame, and what functions have
 * edited and not yet written into the frame. nfv/dataplane/observe/notes.py reads them.
 */
#ifndef NFV_OBSERVE_H
#define NFV_OBSERVE_H

#include "nf.h"
#include "commit.h"
#include "entry.h"

#define OBSERVE_FRAME 16384     /* bytes of a frame that a note has room for */
#define OBSERVE_PASSES 65533    /* the number of a helper that the kernel has not */
#define OBSERVE_UNCOUNTED 65534 /* the function has not counted the packet by a rule */

/* One note. What is read of a frame stands at its end, the rest of it is not written out. */
struct observe_record {
	u64 time;     /* CLOCK_MONOTONIC, nanoseconds */
	u64 packet;   /* the CPU in the upper 16 bits, then how many packets it has had */
	u32 note;     /* number of the place where it was taken: in nf_observe_wanted */
	u32 length;   /* bytes of the frame, without a tag that is beside it */
	u32 captured; /* bytes of it that were read */
	u32 segments; /* frames on the wire that it stands for */
	u32 tag;      /* VLAN tag beside the frame: its protocol * 65536 + TCI; 0: none */
	u32 egress;   /* port to leave by, or of the router's interface */
	u32 next_hop; /* of the last router, the number of the adjacency */
	u16 counter;  /* place where the function has counted, or OBSERVE_UNCOUNTED */
	u8 verdict;   /* enum nf_verdict */
	u8 reason;    /* enum nf_reason */
	u32 src[4];   /* from here on as in struct nf_packet, for those that `edits` names */
	u32 dst[4];
	u16 sport;
	u16 dport;
	u16 echo_id;
	u16 l4_offset;
	u8 macs[2 * ETH_ALEN];
	u8 edits; /* enum nf_edit */
	u8 ttl;
	u8 family;
	u8 protocol;
	u8 has_l4;
	u8 dscp;
	u8 reserved[6];
	u8 frame[OBSERVE_FRAME];
};

struct observe_cpu {
	u64 packets; /* begun */
	u64 lost;    /* notes for which there was no room */
	u64 onward;  /* the packet goes on in the walk of another port */
	u64 noted;   /* the last packet of which a note was taken */
	u64 fresh;   /* the packet has been at no place yet */
};

/* Whether a note is wanted of a place, and how many were lost. */
struct observe_place {
	u32 size;      /* bytes of the frame; 0: no note */
	u32 by_egress; /* `size` is for packets to a port that is wanted, in nf_observe_egress */
	u32 followed;  /* the same of a packet of which there is a note already */
	u32 ended;     /* `followed` is for packets that do not go on from there */
	u32 first;     /* `size` is for packets that have been at no place before */
	u32 reserved;
	u64 lost;
};

/* By port to leave by: whether its packets are wanted, and how many notes of them were lost. */
struct observe_port {
	u64 wanted;
	u64 lost;
};

BPF_TABLE("percpu_array", u32, struct observe_cpu, nf_observe_cpus, 1);
BPF_TABLE("percpu_array", u32, struct observe_record, nf_observe_record, 1);
BPF_TABLE("array", u32, struct observe_place, nf_observe_wanted, 1); /* by note */
BPF_TABLE("array", u32, struct observe_port, nf_observe_egress, 1);
BPF_RINGBUF_OUTPUT(nf_observe_notes, 1);

/* Whether the filter lets a frame pass: put in place of the call when the program is loaded. */
static long (*observe_passes)(nf_ctx *ctx) = (void *)OBSERVE_PASSES;

/* A packet begins its walk, or goes on with it behind another port's. */
static __always_inline void observe_enter(void)
{
	u32 index = 0;
	struct observe_cpu *cpu = nf_observe_cpus.lookup(&index);

	if (!cpu)
		return;
	cpu->fresh = !cpu->onward;
	cpu->packets += cpu->fresh;
	cpu->onward = 0;
}

static __always_inline void observe_onward(u64 onward)
{
	u32 index = 0;
	struct observe_cpu *cpu = nf_observe_cpus.lookup(&index);

	if (cpu)
		cpu->onward = onward;
}

#ifdef NFV_TC
static __always_inline u64 observe_length(nf_ctx *ctx)
{
	return HOOK_READ(ctx, len);
}

static __always_inline u32 observe_tag(nf_ctx *ctx)
{
	if (!HOOK_READ(ctx, vlan_present))
		return 0;
	return bpf_ntohs(HOOK_READ(ctx, vlan_proto)) << 16 | HOOK_READ(ctx, vlan_tci);
}

static __always_inline long observe_read(nf_ctx *ctx, u8 *to, u64 length)
{
	return bpf_skb_load_bytes(ctx, 0, to, length);
}
#else
static __always_inline u64 observe_length(nf_ctx *ctx)
{
	return hook_length(ctx);
}

static __always_inline u32 observe_tag(nf_ctx *ctx)
{
	return 0;
}

static __always_inline long observe_read(nf_ctx *ctx, u8 *to, u64 length)
{
	return bpf_xdp_load_bytes(ctx, 0, to, length);
}
#endif

/* Read the frame, at most `wanted` bytes; whether that could be. */
static __always_inline int observe_frame(nf_ctx *ctx, struct observe_record *record, u32 wanted)
{
	u64 length = observe_length(ctx);

	record->length = length;
	if (length > wanted)
		length = wanted;
	NF_OPAQUE(length); /* the verifier has to see both bounds of the same register */
	if (length > OBSERVE_FRAME)
		length = OBSERVE_FRAME;
	if (!length || observe_read(ctx, record->frame, length))
		return 0;
	record->captured = length;
	return 1;
}

static __always_inline void observe_edits(struct observe_record *record,
					  const struct nf_packet *pkt)
{
	__builtin_memcpy(record->src, pkt->src, sizeof(record->src));
	__builtin_memcpy(record->dst, pkt->dst, sizeof(record->dst));
	__builtin_memcpy(record->macs, pkt->macs, sizeof(record->macs));
	record->sport = pkt->sport;
	record->dport = pkt->dport;
	record->echo_id = pkt->echo_id;
	record->l4_offset = pkt->l4_offset;
	record->edits = pkt->edits;
	record->ttl = pkt->ttl;
	record->family = pkt->family;
	record->protocol = pkt->protocol;
	record->has_l4 = pkt->has_l4;
	record->dscp = pkt->dscp;
}

/*
 * Whether the filter lets a packet pass. What functions have edited is not in the frame yet, and what is
 * answered becomes another frame: those pass, and are looked at where the notes are read.
 */
static __always_inline int observe_matches(nf_ctx *ctx, const struct nf_packet *pkt, int verdict)
{
	return pkt->edits || verdict == NF_REJECT || verdict == NF_ANSWER || observe_passes(ctx);
}

/* How many bytes are wanted of a packet's frame, at most; 0: no note. */
static __always_inline u32 observe_size(nf_ctx *ctx, const struct nf_packet *pkt,
					const struct observe_place *place,
					const struct observe_port *port, struct observe_cpu *cpu,
					int verdict)
{
	u32 size = !place->by_egress || (port && port->wanted) ? place->size : 0;

	if (place->first && !cpu->fresh)
		size = 0;
	cpu->fresh = 0;
	if (size && !observe_matches(ctx, pkt, verdict))
		size = 0;
	if (size || cpu->noted != cpu->packets)
		return size;
	if (place->ended && (verdict == NF_NEXT || verdict == NF_FORWARD))
		return 0;
	return place->followed;
}

/* A note had no room: counted where its packet was looked for. */
static __always_inline void observe_lose(struct observe_place *place, struct observe_port *port,
					 struct observe_cpu *cpu)
{
	u64 *lost = place->by_egress && port && port->wanted ? &port->lost : &place->lost;

	cpu->lost++;
	__sync_fetch_and_add(lost, 1);
}

static __always_inline long observe_write(struct observe_record *record)
{
	u64 size = record->captured;

	NF_OPAQUE(size);
	if (size > OBSERVE_FRAME)
		size = OBSERVE_FRAME;
	size += offsetof(struct observe_record, frame);
	return nf_observe_notes.ringbuf_output(record, size, 0);
}

/* Take a note, if one is wanted of that place. */
static __always_inline void observe_note(nf_ctx *ctx, const struct nf_packet *pkt, u32 note,
					 int verdict)
{
	u32 index = 0, egress = pkt->egress, size;
	struct observe_place *place = nf_observe_wanted.lookup(&note);
	struct observe_port *port = nf_observe_egress.lookup(&egress);
	struct observe_record *record = nf_observe_record.lookup(&index);
	struct observe_cpu *cpu = nf_observe_cpus.lookup(&index);

	if (!place || !record || !cpu)
		return;
	size = observe_size(ctx, pkt, place, port, cpu, verdict);
	if (!size || !observe_frame(ctx, record, size))
		return;
	record->time = bpf_ktime_get_ns();
	record->packet = (u64)bpf_get_smp_processor_id() << 48 | cpu->packets;
	record->note = note;
	record->segments = HOOK_WHOLE ? 1 : pkt->wire.frames;
	record->tag = observe_tag(ctx);
	record->egress = pkt->egress;
	record->next_hop = pkt->next_hop;
	record->counter = pkt->counter;
	record->verdict = verdict;
	record->reason = pkt->reason;
	observe_edits(record, pkt);
	if (observe_write(record))
		observe_lose(place, port, cpu);
	else
		cpu->noted = cpu->packets;
}

/* What ends before its walk has a reason, too, where observed; entry_discard alone tells nobody. */
static __always_inline int observe_discard(nf_ctx *ctx, u32 reason)
{
	u32 index = 0;
	struct nf_packet *pkt = nf_packets.lookup(&index);

	if (pkt)
		pkt->reason = reason;
	return entry_discard(ctx, reason);
}

#define entry_discard observe_discard

/* Before something that may discard the frame, or end a copy of it in silence. */
static __always_inline int observe_quiet(nf_ctx *ctx, struct nf_packet *pkt)
{
	pkt->reason = NF_REASON_COUNT;
	pkt->edits = 0;
	if (!HOOK_WHOLE)
		hook_measure(ctx, &pkt->wire);
	return -1;
}

/* After it: `verdict` is what the program returns, or -1 if the walk begins. */
static __always_inline int observe_leave(nf_ctx *ctx, struct nf_packet *pkt, int verdict, u32 end)
{
	if (verdict >= 0 && pkt->reason != NF_REASON_COUNT) {
		observe_enter();
		observe_note(ctx, pkt, end, NF_DROP);
	}
	return verdict;
}

/* The end of a walk, as entry_finish has it; the note of it has the frame as it is sent. */
static __always_inline int observe_finish(nf_ctx *ctx, struct nf_packet *pkt, int verdict, u32 end)
{
	entry_count(pkt);
	if (verdict != NF_DROP)
		commit_packet(ctx, pkt);
	observe_note(ctx, pkt, end, verdict);
	if (verdict == NF_DROP)
		return HOOK_DROP;
	if (verdict == NF_REJECT || verdict == NF_ANSWER) {
		pkt->answered = verdict == NF_ANSWER;
		hook_jump(ctx, NF_LINK(ENTRY_REJECT_JUMP));
		return HOOK_DROP;
	}
	return entry_send(ctx, pkt);
}

/* On with the walk of another port, as entry_jump does; `end` notes that there were too many. */
static __always_inline int observe_jump(nf_ctx *ctx, struct nf_packet *pkt, u32 jump, u32 end)
{
	int verdict;

	observe_note(ctx, pkt, jump, NF_FORWARD);
	observe_onward(1);
	verdict = entry_jump(ctx, pkt);
	observe_onward(0);
	observe_note(ctx, pkt, end, NF_DROP);
	return verdict;
}

#endif /* NFV_OBSERVE_H */
