/* NF_LINK(0): program gw:guests */
/* NF_LINK(1): cpus gw:guests */
/* NF_LINK(2): flow_bits gw:guests */
/* NF_LINK(3): flow_shift gw:guests */
/* NF_LINK(4): actions gw:guests */
/* NF_LINK(5): flow_life gw:guests */
/* NF_LINK(6): interface core:20 */
/* NF_LINK(7): program gw:guests */
/* NF_LINK(8): port gw:guests */
/* f0: fw */
/* f1: core */
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
#define F0_STATELESS 0
#define F0_PICKUP 1
#define F0_WORDS 1
#define F0_TABLE 262144
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
#define F1_PORTS 3
#define F1_VLANS 1
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
#line 1 "reject.h"
#line 13 "reject.h"
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
	verdict = parse_packet(ctx, pkt);
	if (verdict != NF_NEXT)
		goto out;
	verdict = f0_process(ctx, pkt, NF_DIR_REVERSE);
	if (verdict != NF_NEXT) {
		f0_report(pkt);
		pkt->place = 1;
		goto out;
	}
	verdict = f1_process(ctx, pkt, NF_LINK(6));
	f1_report(pkt);
	if (verdict == NF_FLOOD) {
		hook_jump(ctx, NF_LINK(7));
		verdict = nf_drop(pkt, NF_REASON_LOOP);
		goto out;
	}
	if (verdict != NF_FORWARD)
		goto out;
	if (pkt->tx & ENTRY_JUMP) {
		verdict = f1_tell(ctx, pkt);
		if (verdict != NF_FORWARD)
			goto out;
		return entry_jump(ctx, pkt);
	}
	pkt->egress = pkt->tx;
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

int nfv_part1(nf_ctx *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return HOOK_DROP;
	return f1_flood(ctx, pkt, NF_LINK(6));
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
	pkt->egress = NF_LINK(8);
	pkt->reason = NF_REASON_FORWARDED;
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

