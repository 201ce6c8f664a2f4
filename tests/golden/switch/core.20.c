/* NF_LINK(0): program core:20 */
/* NF_LINK(1): cpus core:20 */
/* NF_LINK(2): flow_bits core:20 */
/* NF_LINK(3): flow_shift core:20 */
/* NF_LINK(4): actions core:20 */
/* NF_LINK(5): flow_life core:20 */
/* NF_LINK(6): port core:20 */
/* NF_LINK(7): interface core:20 */
/* NF_LINK(8): program core:20 */
/* NF_LINK(9): function fw */
/* NF_LINK(10): interface gw:guests */
/* NF_LINK(11): port gw:guests */
/* NF_LINK(12): function gw */
/* NF_LINK(13): program core:20 */
/* NF_LINK(14): program core:20 */
/* NF_LINK(15): constant gw */
/* NF_LINK(16): constant gw */
/* NF_LINK(17): constant gw */
/* NF_LINK(18): constant gw */
/* NF_LINK(19): constant gw */
/* f0: core */
/* f1: fw */
/* f2: gw */
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
#define F0_PORTS 3
#define F0_VLANS 1
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/switch.c"
#line 1 "ports.h"
#line 13 "ports.h"
#line 1 "stations.h"
#line 13 "stations.h"
#line 9 "functions/switch.c"
#line 1 "vlan.h"
#line 7 "vlan.h"
#line 11 "functions/switch.c"
#define F1_STATELESS 0
#define F1_PICKUP 1
#define F1_WORDS 1
#define F1_TABLE 262144
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/firewall.c"
#line 1 "discovery.h"
#line 7 "discovery.h"
#line 1 "matcher.h"
#line 1 "match.h"
#line 7 "match.h"
#line 10 "matcher.h"
#line 1 "traits.h"
#line 8 "traits.h"
#line 1 "quoted.h"
#line 7 "quoted.h"
#line 1 "tcpflags.h"
#line 14 "functions/firewall.c"
#line 1 "extras.h"
#line 1 "matches.h"
#line 4 "matches.h"
#line 7 "extras.h"
#line 78 "functions/firewall.c"
#line 1 "sets.h"
#line 7 "sets.h"
#line 82 "functions/firewall.c"
#line 1 "connections.h"
#line 1 "datagrams.h"
#line 7 "datagrams.h"
#line 10 "connections.h"
#line 1 "winstate.h"
#line 28 "connections.h"
#line 1 "windows.h"
#line 1 "segments.h"
#line 5 "segments.h"
#line 8 "windows.h"
#line 181 "connections.h"
#line 143 "functions/firewall.c"
#define F2_SHIFT4 NF_LINK(15)
#define F2_MASK4 NF_LINK(16)
#define F2_BANK4 NF_LINK(17)
#define F2_MASK6 NF_LINK(18)
#define F2_BANK6 NF_LINK(19)
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/router.c"
#line 1 "hop.h"
#line 11 "hop.h"
#line 1 "prefixes.h"
#line 10 "prefixes.h"
#line 13 "functions/router.c"
#line 1 "reject.h"
#line 13 "reject.h"
#line 1 "chain"
int nfv_entry(nf_ctx *ctx)
{
	int verdict = f0_leave(ctx, NF_LINK(7));

	if (verdict >= 0)
		return verdict;
	verdict = flow_forward(ctx, NF_LINK(6));
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
	verdict = f1_process(ctx, pkt, NF_DIR_FORWARD);
	if (verdict != NF_NEXT) {
		f1_report(pkt);
		pkt->place = 1;
		goto out;
	}
	pkt->counted[0] = NF_LINK(9) << 16 | pkt->counter;
	verdict = f2_process(ctx, pkt, NF_LINK(10));
	f2_report(pkt);
	if (verdict != NF_FORWARD) {
		pkt->egress = NF_LINK(11);
		goto out;
	}
	pkt->counted[1] = NF_LINK(12) << 16 | pkt->counter;
	if (pkt->tx & ENTRY_JUMP)
		return entry_jump(ctx, pkt);
	pkt->egress = pkt->tx;
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
	verdict = reject_answer(ctx, pkt);
	if (verdict != NF_NEXT)
		goto out;
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
	hook_jump(ctx, NF_LINK(14));
	verdict = nf_drop(pkt, NF_REASON_LOOP);
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

int nfv_part3(nf_ctx *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return HOOK_DROP;
	verdict = f0_process(ctx, pkt, NF_LINK(7));
	f0_report(pkt);
	if (verdict == NF_FLOOD) {
		hook_jump(ctx, NF_LINK(13));
		verdict = nf_drop(pkt, NF_REASON_LOOP);
		goto out;
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

int nfv_part4(nf_ctx *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return HOOK_DROP;
	return f0_flood(ctx, pkt, NF_LINK(7));
out:
	return entry_finish(ctx, pkt, verdict);
}

