/* SPDX-License-Identifier: GPL-2.0 */
/* The least that a program can do with a packet and still pass it on: the measure of all others. */
#include <uapi/linux/bpf.h>

BPF_DEVMAP(out, 1);

int redirect(struct xdp_md *ctx)
{
	return out.redirect_map(0, 0);
}
