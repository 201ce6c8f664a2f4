/* NF_LINK(0): program gw:lan */
/* NF_LINK(1): cpus gw:lan */
/* NF_LINK(2): flow_bits gw:lan */
/* NF_LINK(3): flow_shift gw:lan */
/* NF_LINK(4): actions gw:lan */
/* NF_LINK(5): flow_life gw:lan */
/* NF_LINK(6): port gw:lan */
/* NF_LINK(7): program gw:lan */
/* NF_LINK(8): stage dns:service */
/* NF_LINK(9): port dns:service */
/* NF_LINK(10): port lan */
/* f0: dns */
#define NFV_TC 1
#line 1 "entry.h"
#line 1 "nf.h"
#line 1 "hook.h"
#line 1 "checksum.h"
#line 22 "hook.h"
#line 1 "tc.h"
#line 48 "hook.h"
#line 1 "xdp.h"
#line 50 "hook.h"
#line 7 "nf.h"
#line 1 "commit.h"
#line 11 "commit.h"
#line 8 "entry.h"
#line 1 "parse.h"
#line 7 "parse.h"
#line 1 "flow.h"
#line 1 "action.h"
#line 1 "plain.h"
#line 10 "plain.h"
#line 15 "action.h"
#line 15 "flow.h"
#line 1 "service.h"
#line 11 "service.h"
#define F0_RATE 2000
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/dns.c"
#line 1 "own.h"
#line 7 "own.h"
#line 1 "answers.h"
#line 1 "questions.h"
#line 7 "questions.h"
#line 1 "cookies.h"
#line 8 "cookies.h"
#line 1 "limits.h"
#line 8 "limits.h"
#line 15 "answers.h"
#line 13 "functions/dns.c"
#line 1 "pace.h"
#line 8 "pace.h"
#line 1 "senders.h"
#line 8 "senders.h"
#line 17 "functions/dns.c"
#line 1 "chain"
int nfv_entry(nf_ctx *ctx)
{
	int verdict = flow_forward(ctx, NF_LINK(6));

	if (verdict >= 0)
		return verdict;
	return entry_walk(ctx, NF_LINK(7));
}

int nfv_walk(nf_ctx *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return HOOK_DROP;
	hook_open(ctx);
	verdict = parse_packet(ctx, pkt);
	if (verdict != NF_NEXT)
		goto out;
	action_begin(pkt);
	pkt->stage = NF_LINK(8);
	verdict = f0_process(ctx, pkt, NF_DIR_REVERSE);
	if (verdict != NF_NEXT) {
		f0_report(pkt);
		pkt->place = 1;
		if (verdict == NF_SERVE)
			verdict = service_push(ctx, pkt, NF_LINK(6), NF_LINK(9));
		goto out;
	}
	pkt->egress = NF_LINK(10);
	pkt->reason = NF_REASON_FORWARDED;
	goto keep;
	goto out;
keep:
	flow_keep(ctx, pkt, NF_LINK(6));
out:
	return entry_finish(ctx, pkt, verdict);
}

int nfv_reject(nf_ctx *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return HOOK_DROP;
	index = pkt->place;
	verdict = parse_packet(ctx, pkt);
	if (verdict != NF_NEXT)
		goto out;
	pkt->place = index;
	switch (pkt->place) {
	case 1:
		goto back0_end;
	}
	verdict = nf_drop(pkt, NF_REASON_NONE);
	goto out;
	back0_end:
	pkt->egress = NF_LINK(6);
	pkt->reason = NF_REASON_FORWARDED;
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

