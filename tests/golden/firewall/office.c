/* NF_LINK(0): program office */
/* NF_LINK(1): cpus office */
/* NF_LINK(2): flow_bits office */
/* NF_LINK(3): flow_shift office */
/* NF_LINK(4): actions office */
/* NF_LINK(5): flow_life office */
/* NF_LINK(6): port office */
/* NF_LINK(7): program office */
/* NF_LINK(8): interface gw:office */
/* NF_LINK(9): port gw:office */
/* NF_LINK(10): function gw */
/* NF_LINK(11): function fw */
/* NF_LINK(12): port internet */
/* NF_LINK(13): port gw:internet */
/* NF_LINK(14): constant gw */
/* NF_LINK(15): constant gw */
/* NF_LINK(16): constant gw */
/* NF_LINK(17): constant gw */
/* NF_LINK(18): constant gw */
/* f0: gw */
/* f1: fw */
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
#define F0_SHIFT4 NF_LINK(14)
#define F0_MASK4 NF_LINK(15)
#define F0_BANK4 NF_LINK(16)
#define F0_MASK6 NF_LINK(17)
#define F0_BANK6 NF_LINK(18)
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/router.c"
#line 1 "hop.h"
#line 11 "hop.h"
#line 1 "prefixes.h"
#line 10 "prefixes.h"
#line 13 "functions/router.c"
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
#line 1 "reject.h"
#line 13 "reject.h"
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
	verdict = f0_process(ctx, pkt, NF_LINK(8));
	f0_report(pkt);
	if (verdict != NF_FORWARD) {
		pkt->egress = NF_LINK(9);
		goto out;
	}
	pkt->counted[0] = NF_LINK(10) << 16 | pkt->counter;
	if (pkt->egress == NF_LINK(13)) {
		pkt->reason = 0;
		verdict = f1_process(ctx, pkt, NF_DIR_FORWARD);
		if (verdict != NF_NEXT) {
			f1_report(pkt);
			pkt->place = 1;
			goto out;
		}
		pkt->counted[1] = NF_LINK(11) << 16 | pkt->counter;
		pkt->egress = NF_LINK(12);
		pkt->reason = NF_REASON_FORWARDED;
		goto keep;
	}
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
		goto back1_end;
	}
	verdict = nf_drop(pkt, NF_REASON_NONE);
	goto out;
	back1_end:
	pkt->egress = NF_LINK(13);
	pkt->reason = NF_REASON_FORWARDED;
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

