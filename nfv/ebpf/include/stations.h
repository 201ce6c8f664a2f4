/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stations of a switch: which port each MAC address is behind, in each VLAN. Programs learn; the agent
 * removes what is old (nfv/ebpf/stations.py).
 *
 * A CPU remembers for a second what it has found out, so that most frames need no lookup in the hash: not
 * of their source, which is known and fresh, nor of their destination. Whatever takes an entry of the hash
 * away from its port advances the generation, and nothing that was remembered before is trusted.
 */
#include "nf.h"
#include "entry.h"
#include "ports.h"

#define SELF_STATION_BOUND 1  /* to its port: static, or learned at a sticky port */
#define SELF_STATION_STATIC 2 /* declared: never removed */

/* A second in jiffies. */
#define SELF_SECOND (NF_LINK(ENTRY_FLOW_LIFE) / 8)

struct self_station {
	u32 seen; /* jiffies, give or take a second */
	u16 port;
	u16 flags;
};

struct self_recent {
	u64 name;
	u64 generation;
	u32 seen; /* jiffies when it was looked up */
	u32 port;
};

struct self_lan {
	u64 moves;   /* by programs: stations that have another port */
	u64 flushes; /* by the agent: whenever it has removed stations */
	u32 ageing;  /* seconds until a silent station is forgotten; 0: never */
	u32 reserved;
};

/* Stations of a port: learned there less removed; each member has one writer. */
struct self_count {
	u64 learned; /* by programs, which take back what moves on */
	u64 removed; /* by the agent */
};

BPF_TABLE("hash", u64, struct self_station, self_stations, 1);
BPF_TABLE("percpu_array", u32, struct self_recent, self_recents, 1);
BPF_F_TABLE("array", u32, struct self_lan, self_lans, NF_FLAT, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct self_count, self_counts, NF_FLAT, BPF_F_MMAPABLE);

#define SELF_RECENTS 1024 /* a power of two */

/* A station's name: six bytes of address as they lie in memory, then the VLAN. */
static __always_inline u64 self_name(const u8 *mac, u64 vlan)
{
	const u16 *half = (const u16 *)mac;

	return half[0] | (u64)half[1] << 16 | (u64)half[2] << 32 | vlan << 48;
}

static __always_inline u64 self_generation(void)
{
	struct self_lan *lan = self_lans.sk_storage_get(0, 0, 0);

	return *(volatile u64 *)&lan->moves + *(volatile u64 *)&lan->flushes;
}

static __always_inline struct self_recent *self_recent(u64 name)
{
	u32 place = name * 0x9e3779b97f4a7c15ull >> 54 & (SELF_RECENTS - 1);

	return self_recents.lookup(&place);
}

static __always_inline int self_is_fresh(const struct self_recent *recent, u64 name, u64 generation,
					 u32 now)
{
	return recent->name == name && recent->generation == generation &&
	       now - recent->seen < SELF_SECOND;
}

static __always_inline void self_remember(struct self_recent *recent, u64 name, u64 generation,
					  u32 now, u32 port)
{
	recent->name = name;
	recent->generation = generation;
	recent->seen = now;
	recent->port = port;
}

static __always_inline int self_is_old(const struct self_station *station, u32 now)
{
	struct self_lan *lan = self_lans.sk_storage_get(0, 0, 0);
	u64 age = (u32)(now - station->seen);

	return !(station->flags & SELF_STATION_BOUND) && lan->ageing &&
	       age > lan->ageing * SELF_SECOND;
}

static __always_inline void self_count_station(u32 port, u64 more)
{
	struct self_count *count = self_counts.sk_storage_get(0, 0, 0);

	__sync_fetch_and_add(&count[port].learned, more);
}

/* Whether a port has as many stations as it may; 0 stands for any number. */
static __always_inline int self_is_full(u32 port, u32 limit)
{
	struct self_count *count = self_counts.sk_storage_get(0, 0, 0);

	return limit && (s64)(count[port].learned - count[port].removed) >= limit;
}

/* A station that was not known; if there is no room, it stays unknown. */
static __always_inline void self_add_station(u64 name, u32 way, u32 now, u32 flags)
{
	struct self_station station = {.seen = now, .port = way, .flags = flags};

	if (!self_stations.insert(&name, &station))
		self_count_station(way, 1);
}

/* A station that was known behind another port, and comes in by this one. */
static __always_inline void self_move_station(struct self_station *station, u32 way, u32 now,
					      u32 flags)
{
	struct self_lan *lan = self_lans.sk_storage_get(0, 0, 0);
	u32 from = station->port;

	station->seen = now;
	station->flags = flags;
	station->port = way;
	__sync_fetch_and_add(&lan->moves, 1);
	if (from < SELF_PORTS)
		self_count_station(from, -1);
	self_count_station(way, 1);
}

/*
 * Learn that the source of a frame is behind port `way`, which may have `limit` stations, and binds them if
 * `flags` say so. Returns why the frame may not pass, or 0.
 */
static __always_inline u32 self_learn(u64 name, u32 way, u32 limit, u32 flags, u32 now)
{
	u64 generation = self_generation();
	struct self_recent *recent = self_recent(name);
	struct self_station *station;

	if (!recent)
		return NF_REASON_NONE;
	if (self_is_fresh(recent, name, generation, now) && recent->port == way)
		return 0;
	station = self_stations.lookup(&name);
	if (station && station->port == way) {
		station->seen = now;
		self_remember(recent, name, generation, now, way);
		return 0;
	}
	if ((station && station->flags & SELF_STATION_BOUND) || self_is_full(way, limit))
		return NF_REASON_STATION;
	if (station)
		self_move_station(station, way, now, flags);
	else
		self_add_station(name, way, now, flags);
	return 0;
}

/* The port that a station is behind, or -1 if that is not known. */
static __always_inline s64 self_find(u64 name, u32 now)
{
	u64 generation = self_generation();
	struct self_recent *recent = self_recent(name);
	struct self_station *station;

	if (!recent)
		return -1;
	if (self_is_fresh(recent, name, generation, now))
		return recent->port;
	station = self_stations.lookup(&name);
	if (!station || self_is_old(station, now))
		return -1;
	self_remember(recent, name, generation, now, station->port);
	return station->port;
}
