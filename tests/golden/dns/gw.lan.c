/* NF_LINK(0): program gw:lan */
/* NF_LINK(1): port gw:lan */
/* NF_LINK(2): stage dns:service */
/* NF_LINK(3): port dns:service */
/* NF_LINK(4): port lan */
/* f0: dns */
#line 1 "entry.h"
#line 1 "nf.h"
#line 1 "hook.h"
#line 1 "tc.h"
#line 30 "hook.h"
#line 1 "xdp.h"
#line 32 "hook.h"
#line 7 "nf.h"
#line 7 "entry.h"
#line 1 "parse.h"
#line 7 "parse.h"
#line 1 "flow.h"
#line 1 "checksum.h"
#line 7 "checksum.h"
#line 17 "flow.h"
#line 1 "service.h"
#line 10 "service.h"
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/dns.c"
#line 1 "own.h"
#line 7 "own.h"
#line 10 "functions/dns.c"
#line 1 "chain"
int nfv_entry(nf_ctx *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return HOOK_DROP;
	hook_open(ctx);
	verdict = flow_forward(ctx, NF_LINK(1));
	if (verdict >= 0)
		return verdict;
	verdict = parse_packet(ctx, pkt);
	if (verdict != NF_NEXT)
		goto out;
	flow_begin(ctx, pkt);
	verdict = f0_process(ctx, pkt, NF_DIR_REVERSE);
	if (verdict != NF_NEXT) {
		f0_report(pkt);
		if (verdict == NF_SERVE)
			verdict = service_push(ctx, pkt, NF_LINK(2), NF_LINK(1), NF_LINK(3));
		goto out;
	}
	pkt->egress = NF_LINK(4);
	pkt->reason = NF_REASON_FORWARDED;
	goto keep;
	goto out;
keep:
	flow_keep(ctx, pkt, NF_LINK(1));
out:
	return entry_finish(ctx, pkt, verdict);
}

