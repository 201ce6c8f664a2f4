/* NF_LINK(0): program h1 */
/* NF_LINK(1): cpus h1 */
/* NF_LINK(2): flow_bits h1 */
/* NF_LINK(3): flow_shift h1 */
/* NF_LINK(4): actions h1 */
/* NF_LINK(5): flow_life h1 */
/* NF_LINK(6): port h1 */
/* NF_LINK(7): interface r1:h1 */
/* NF_LINK(8): program h1 */
/* NF_LINK(9): port r1:h1 */
/* NF_LINK(10): function r1 */
/* NF_LINK(11): constant r1 */
/* NF_LINK(12): constant r1 */
/* NF_LINK(13): constant r1 */
/* NF_LINK(14): constant r1 */
/* NF_LINK(15): constant r1 */
/* f0: r1 */
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
#define F0_SHIFT4 NF_LINK(11)
#define F0_MASK4 NF_LINK(12)
#define F0_BANK4 NF_LINK(13)
#define F0_MASK6 NF_LINK(14)
#define F0_BANK6 NF_LINK(15)
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
	int verdict = f0_forward(ctx, NF_LINK(6), NF_LINK(7));

	if (verdict >= 0)
		return verdict;
	return entry_walk(ctx, NF_LINK(8));
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
	verdict = f0_process(ctx, pkt, NF_LINK(7));
	f0_report(pkt);
	if (verdict != NF_FORWARD) {
		pkt->egress = NF_LINK(9);
		goto out;
	}
	pkt->counted[0] = NF_LINK(10) << 16 | pkt->counter;
	if (pkt->tx & ENTRY_JUMP)
		return entry_jump(ctx, pkt);
	pkt->egress = pkt->tx;
	goto keep;
	goto out;
keep:
	hop_keep(ctx, pkt, NF_LINK(6));
out:
	return entry_finish(ctx, pkt, verdict);
}

