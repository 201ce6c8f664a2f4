/* NF_LINK(0): program sw:1 */
/* NF_LINK(1): cpus sw:1 */
/* NF_LINK(2): flow_bits sw:1 */
/* NF_LINK(3): flow_shift sw:1 */
/* NF_LINK(4): actions sw:1 */
/* NF_LINK(5): flow_life sw:1 */
/* NF_LINK(6): interface sw:1 */
/* NF_LINK(7): port alice */
/* NF_LINK(8): port sw:1 */
/* f0: sw */
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
#line 1 "chain"
int nfv_entry(nf_ctx *ctx)
{
	struct nf_packet *pkt;
	int verdict = NF_NEXT;
	u32 index = 0;

	pkt = nf_packets.lookup(&index);
	if (!pkt)
		return HOOK_DROP;
	verdict = f0_leave(ctx, NF_LINK(6));
	if (verdict >= 0)
		return verdict;
	hook_open(ctx);
	parse_begin(ctx, pkt);
	pkt->egress = NF_LINK(7);
	pkt->reason = NF_REASON_FORWARDED;
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

