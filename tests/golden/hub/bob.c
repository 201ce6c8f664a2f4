/* NF_LINK(0): program bob */
/* NF_LINK(1): cpus bob */
/* NF_LINK(2): flow_bits bob */
/* NF_LINK(3): flow_shift bob */
/* NF_LINK(4): actions bob */
/* NF_LINK(5): flow_life bob */
/* NF_LINK(6): interface hub:2 */
/* NF_LINK(7): port bob */
/* f0: hub */
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
#define F0_PORTS 4
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/hub.c"
#line 1 "ports.h"
#line 13 "ports.h"
#line 5 "functions/hub.c"
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
	parse_begin(ctx, pkt);
	verdict = f0_process(ctx, pkt, NF_LINK(6));
	f0_report(pkt);
	if (verdict == NF_FLOOD) {
		return f0_flood(ctx, pkt, NF_LINK(6));
	}
	if (verdict != NF_FORWARD)
		goto out;
	if (pkt->tx & ENTRY_JUMP) {
		verdict = f0_tell(ctx, pkt);
		if (verdict != NF_FORWARD)
			goto out;
		return entry_jump(ctx, pkt);
	}
	pkt->egress = pkt->tx;
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

