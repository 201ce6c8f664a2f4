/* NF_LINK(0): reject wan */
/* NF_LINK(1): port gw:wan */
/* NF_LINK(2): interface gw:wan */
/* NF_LINK(3): port gw:lan */
/* NF_LINK(4): port lan */
/* f0: gw */
/* f1: fw */
#line 1 "entry.h"
#line 1 "nf.h"
#line 7 "entry.h"
#line 1 "parse.h"
#line 7 "parse.h"
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/router.c"
#line 1 "checksum.h"
#line 7 "checksum.h"
#line 1 "lpm.h"
#line 7 "lpm.h"
#line 12 "functions/router.c"
#define F1_STATELESS 0
#define F1_WORDS 1
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/firewall.c"
#line 1 "matcher.h"
#line 9 "matcher.h"
#line 10 "functions/firewall.c"
#line 1 "connections.h"
#line 8 "connections.h"
#line 92 "functions/firewall.c"
#line 1 "reject.h"
#line 13 "reject.h"
#line 1 "chain"
int nfv_entry(struct xdp_md *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return XDP_DROP;
	verdict = parse_packet(ctx, pkt);
	if (verdict != NF_NEXT)
		goto out;
	NF_BARRIER(pkt);
	verdict = f0_process(ctx, pkt, NF_LINK(2));
	f0_report(pkt);
	if (verdict != NF_FORWARD) {
		pkt->egress = NF_LINK(1);
		goto out;
	}
	if (pkt->egress == NF_LINK(3)) {
		pkt->reason = 0;
		NF_BARRIER(pkt);
		verdict = f1_process(ctx, pkt, NF_DIR_REVERSE);
		if (verdict != NF_NEXT) {
			f1_report(pkt);
			pkt->place = 1;
			goto out;
		}
		pkt->egress = NF_LINK(4);
		pkt->reason = NF_REASON_FORWARDED;
		goto out;
	}
	return entry_leave(ctx, pkt);
out:
	return entry_finish(ctx, pkt, verdict);
}

int nfv_reject(struct xdp_md *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return XDP_DROP;
	verdict = reject_answer(ctx, pkt);
	if (verdict != NF_NEXT)
		goto out;
	switch (pkt->place) {
	case 1:
		pkt->egress = NF_LINK(3);
		pkt->reason = NF_REASON_FORWARDED;
		goto out;
	}
	verdict = nf_drop(pkt, NF_REASON_NONE);
out:
	return entry_finish(ctx, pkt, verdict);
}

