/* SPDX-License-Identifier: GPL-2.0 */
/* The flags of a TCP header, as in its 14th byte (RFC 9293, section 3.1). */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_URG 0x20
