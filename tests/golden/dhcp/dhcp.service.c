/* NF_LINK(0): program dhcp:service */
/* NF_LINK(1): cpus dhcp:service */
/* NF_LINK(2): flow_bits dhcp:service */
/* NF_LINK(3): flow_shift dhcp:service */
/* NF_LINK(4): actions dhcp:service */
/* NF_LINK(5): flow_life dhcp:service */
/* NF_LINK(6): interface gw:lan */
/* NF_LINK(7): port gw:lan */
/* NF_LINK(8): stage dhcp:service */
/* NF_LINK(9): port dhcp:service */
/* NF_LINK(10): port printer */
/* NF_LINK(11): port gw:desk */
/* NF_LINK(12): port guest */
/* NF_LINK(13): interface gw:desk */
/* NF_LINK(14): stage dhcp:service */
/* NF_LINK(15): constant gw */
/* NF_LINK(16): constant gw */
/* NF_LINK(17): constant gw */
/* NF_LINK(18): constant gw */
/* NF_LINK(19): constant gw */
/* f0: gw */
/* f1: dhcp */
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
#define F0_SHIFT4 NF_LINK(15)
#define F0_MASK4 NF_LINK(16)
#define F0_BANK4 NF_LINK(17)
#define F0_MASK6 NF_LINK(18)
#define F0_BANK6 NF_LINK(19)
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
#define F1_GUARD 1
#define F1_IPV6 1
#define F1_RATE 1000
#line 1 "report.h"
#line 4 "report.h"
#line 1 "functions/dhcp.c"
#line 1 "own.h"
#line 7 "own.h"
#line 1 "pace.h"
#line 8 "pace.h"
#line 1 "repeats.h"
#line 12 "repeats.h"
#line 13 "functions/dhcp.c"
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
		if (pkt->egress == NF_LINK(11)) {
			pkt->reason = 0;
			pkt->stage = NF_LINK(8);
			verdict = f1_process(ctx, pkt, NF_DIR_REVERSE);
			if (verdict != NF_NEXT) {
				f1_report(pkt);
				pkt->place = 1;
				if (verdict == NF_SERVE)
					verdict = service_push(ctx, pkt, NF_LINK(9), NF_LINK(9));
				goto out;
			}
			pkt->egress = NF_LINK(10);
			pkt->reason = NF_REASON_FORWARDED;
			goto out;
		}
		if (pkt->tx & ENTRY_JUMP)
			return entry_jump(ctx, pkt);
		pkt->egress = pkt->tx;
		goto out;
	case 1:
		pkt->egress = NF_LINK(12);
		pkt->reason = NF_REASON_FORWARDED;
		goto out;
	case 2:
		verdict = f0_process(ctx, pkt, NF_LINK(13));
		f0_report(pkt);
		if (verdict != NF_FORWARD) {
			pkt->egress = NF_LINK(11);
			goto out;
		}
		if (pkt->egress == NF_LINK(7)) {
			pkt->reason = 0;
			pkt->stage = NF_LINK(14);
			verdict = f1_process(ctx, pkt, NF_DIR_REVERSE);
			if (verdict != NF_NEXT) {
				f1_report(pkt);
				pkt->place = 2;
				if (verdict == NF_SERVE)
					verdict = service_push(ctx, pkt, NF_LINK(9), NF_LINK(9));
				goto out;
			}
			pkt->egress = NF_LINK(12);
			pkt->reason = NF_REASON_FORWARDED;
			goto out;
		}
		if (pkt->tx & ENTRY_JUMP)
			return entry_jump(ctx, pkt);
		pkt->egress = pkt->tx;
		goto out;
	case 3:
		pkt->egress = NF_LINK(10);
		pkt->reason = NF_REASON_FORWARDED;
		goto out;
	}
	verdict = nf_drop(pkt, NF_REASON_NO_CHAIN);
	goto out;
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
		goto back1_end;
	case 2:
		goto back4_end;
	}
	verdict = nf_drop(pkt, NF_REASON_NONE);
	goto out;
	back1_end:
	verdict = NF_DROP;
	goto out;
	back4_end:
	verdict = NF_DROP;
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

