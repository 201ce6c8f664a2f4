/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the fast path and a function's service, a process that reads and writes frames at a tap:
 * the header in front of each frame, put on and taken off.
 */
#ifndef NFV_SERVICE_H
#define NFV_SERVICE_H

#include "nf.h"
#include "commit.h"

/*
 * nfv/services/frames.py has the same. A frame written to the tap goes on where its header says: at
 * the stage that it came with, or, as an answer, at the one of the opposite direction, which is the
 * stage's number with its lowest bit turned.
 */
struct service_header {
	u32 stage;   /* of the function's: twice the number of the chain, 1 more if in reverse */
	u32 ingress; /* port where the packet entered the walk that led here */
	u32 reason;  /* enum nf_reason */
	u32 reserved;
};

/* Hand the packet, as functions have edited it, over to the service behind a port. */
static __always_inline int service_push(nf_ctx *ctx, struct nf_packet *pkt, u32 ingress, u32 port)
{
	struct service_header *header;

	commit_packet(ctx, pkt);
	if (hook_push(ctx, sizeof(*header)))
		return nf_drop(pkt, NF_REASON_NONE);
	header = nf_at(ctx, 0, sizeof(*header));
	if (!header)
		return nf_drop(pkt, NF_REASON_NONE);
	header->stage = pkt->stage;
	header->ingress = ingress;
	header->reason = pkt->reason;
	header->reserved = 0;
	pkt->egress = port;
	return NF_PUNT;
}

/* Take the header off a frame that the service has sent; the stage where it resumes, or -1. */
static __always_inline int service_pull(nf_ctx *ctx, struct nf_packet *pkt)
{
	struct service_header *header = nf_at(ctx, 0, sizeof(*header));
	u32 stage;

	pkt->frame_length = hook_length(ctx);
	if (!header)
		return -1;
	stage = header->stage;
	if (stage > 0xffff || hook_pull(ctx, sizeof(*header)))
		return -1;
	return stage;
}

#endif /* NFV_SERVICE_H */
