/* NF_LINK(0): program dns:service */
/* NF_LINK(1): cpus dns:service */
/* NF_LINK(2): flow_bits dns:service */
/* NF_LINK(3): flow_shift dns:service */
/* NF_LINK(4): actions dns:service */
/* NF_LINK(5): flow_life dns:service */
/* NF_LINK(6): interface gw:lan */
/* NF_LINK(7): port gw:lan */
/* NF_LINK(8): port lan */
/* NF_LINK(9): constant gw */
/* NF_LINK(10): constant gw */
/* NF_LINK(11): constant gw */
/* NF_LINK(12): constant gw */
/* NF_LINK(13): constant gw */
/* NF_LINK(14): port dns:service */
/* f0: gw */
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
#line 1 "service.h"
#line 11 "service.h"
#define F0_SHIFT4 NF_LINK(9)
#define F0_MASK4 NF_LINK(10)
#define F0_BANK4 NF_LINK(11)
#define F0_MASK6 NF_LINK(12)
#define F0_BANK6 NF_LINK(13)
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/router.c"
#line 1 "hop.h"
#line 1 "action.h"
#line 1 "plain.h"
#line 10 "plain.h"
#line 15 "action.h"
#line 11 "hop.h"
#line 1 "prefixes.h"
#line 10 "prefixes.h"
#line 13 "functions/router.c"
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
	index = service_pull(ctx, pkt);
	verdict = parse_packet(ctx, pkt);
	if (verdict != NF_NEXT)
		goto out;
	switch (index) {
	case 0:
		verdict = f0_process(ctx, pkt, NF_LINK(6));
		f0_report(pkt);
		if (verdict != NF_FORWARD) {
			pkt->egress = NF_LINK(7);
			goto out;
		}
		if (pkt->tx & ENTRY_JUMP)
			return entry_jump(ctx, pkt);
		pkt->egress = pkt->tx;
		goto out;
	case 1:
		pkt->egress = NF_LINK(8);
		pkt->reason = NF_REASON_FORWARDED;
		goto out;
	}
	verdict = nf_drop(pkt, NF_REASON_NO_CHAIN);
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

