//! Limits on everything that is decoded: a peer with the key, or without one, must not be able to use up memory.

/// Packets that memberlist builds are no longer than this.
pub const PACKET_MAX: usize = 1400;
/// What one packet may inflate to; a sender packs 1400 bytes, a query 1024.
pub const PACKET_INFLATED_MAX: usize = 256 * 1024;
/// A sealed message on a stream, memberlist's own limit.
pub const STREAM_MAX: usize = 20 * 1024 * 1024;
/// What a message on a stream may inflate to, the limit of today's memberlist.
pub const STREAM_INFLATED_MAX: usize = 40 * 1024 * 1024;
/// Serf's part of a push/pull.
pub const USER_STATE_MAX: usize = 20 * 1024 * 1024;
/// Nodes in one push/pull; memberlist takes 1 Mi, for which its stream limit has no room.
pub const NODES_MAX: usize = 256 * 1024;
/// A user message on a stream. Serf sends none; others may.
pub const USER_MESSAGE_MAX: usize = 1024 * 1024;
/// Layers within layers, such as a compound in a compressed message in a compound.
pub const LAYERS_MAX: usize = 4;
/// Keys of one record: ours have 12 at most, later versions may have some more.
pub const KEYS_MAX: usize = 64;
/// Names, messages of errors, expressions.
pub const TEXT_MAX: usize = 64 * 1024;
/// Byte fields within a record.
pub const BYTES_MAX: usize = STREAM_INFLATED_MAX;
/// Lists and maps of names of nodes.
pub const NAMES_MAX: usize = NODES_MAX;
pub const TAGS_MAX: usize = 1024;
pub const FILTERS_MAX: usize = 256;
pub const DIMENSIONS_MAX: usize = 64;
/// Slots of the ring of user events; Serf has 512.
pub const EVENT_SLOTS_MAX: usize = 16 * 1024;
/// Events that share one Lamport time.
pub const EVENTS_IN_SLOT_MAX: usize = 16 * 1024;
/// Meta data of a node, where Serf's tags are.
pub const META_MAX: usize = 512;
/// Keys in a ring.
pub const RING_MAX: usize = 64;
