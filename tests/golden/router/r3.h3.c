/* NF_LINK(0): program r3:h3 */
/* NF_LINK(1): cpus r3:h3 */
/* NF_LINK(2): flow_bits r3:h3 */
/* NF_LINK(3): flow_shift r3:h3 */
/* NF_LINK(4): actions r3:h3 */
/* NF_LINK(5): flow_life r3:h3 */
/* NF_LINK(6): port h3 */
/* NF_LINK(7): port r3:h3 */
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
	pkt->egress = NF_LINK(6);
	pkt->reason = NF_REASON_FORWARDED;
	goto out;
out:
	return entry_finish(ctx, pkt, verdict);
}

