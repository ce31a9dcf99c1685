//! What an entry is made of, and how it is read and taken without locks.

use super::word::{Word, order};
use crate::address::{Address, V4, V6};
use crate::limits::{FRESH_TICKS, MAX_IDLE_SECONDS, SECOND_SHIFT, WAYS};
use crate::phase::{Phase, Progress, Side};
use crate::verifier::obscure;

/// The words that tell one client tuple from another.
pub trait Key: Copy + Eq {
    /// The words as they lie in the table.
    type Cells;
    /// Reads the words, each whole.
    fn load(cells: &Self::Cells) -> Self;
    /// Writes the words, each whole.
    fn store(self, cells: &Self::Cells);
    /// The bits in which they differ, all words together: 0 if they are equal.
    fn difference(self, other: Self) -> u64;

    /// Equal in every word. Not `==`, which on more than two words is a call of `memcmp`, and that one
    /// goes byte by byte.
    #[inline(always)]
    fn is(self, other: Self) -> bool {
        self.difference(other) == 0
    }
}

impl<const W: usize> Key for [u64; W] {
    type Cells = [Word; W];

    #[inline(always)]
    fn load(cells: &Self::Cells) -> Self {
        let mut words = [0; W];
        for i in 0..W {
            words[i] = cells[i].load();
        }
        words
    }

    #[inline(always)]
    fn store(self, cells: &Self::Cells) {
        for i in 0..W {
            cells[i].store(self[i]);
        }
    }

    #[inline(always)]
    fn difference(self, other: Self) -> u64 {
        let mut difference = 0;
        for i in 0..W {
            difference |= self[i] ^ other[i];
        }
        difference
    }
}

/// A client address, and the key it makes with ports.
pub trait Client: Address {
    /// Key of a flow of this family.
    type Key: Key;
    /// The key of a client tuple: the client's port and the virtual one, host order.
    fn key(self, client_port: u16, port: u16) -> Self::Key;
    /// Address, client port and virtual port of a key.
    fn from_key(key: Self::Key) -> (Self, u16, u16);
}

impl Client for V4 {
    type Key = [u64; 1];

    #[inline(always)]
    fn key(self, client_port: u16, port: u16) -> [u64; 1] {
        [self.0 as u64 | tail(client_port, port) << 32]
    }

    #[inline(always)]
    fn from_key([word]: [u64; 1]) -> (Self, u16, u16) {
        (Self(word as u32), (word >> 32) as u16, (word >> 48) as u16)
    }
}

impl Client for V6 {
    type Key = [u64; 3];

    #[inline(always)]
    fn key(self, client_port: u16, port: u16) -> [u64; 3] {
        [self.0[0], self.0[1], tail(client_port, port)]
    }

    #[inline(always)]
    fn from_key([high, low, word]: [u64; 3]) -> (Self, u16, u16) {
        (Self([high, low]), word as u16, (word >> 16) as u16)
    }
}

#[inline(always)]
const fn tail(client_port: u16, port: u16) -> u64 {
    client_port as u64 | (port as u64) << 16
}

/// The second half of an entry: where the flow goes and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(u64);

impl State {
    /// Nothing here.
    pub const EMPTY: Self = Self(0);
    /// Taken by a processor that is filling it, for a client to find.
    pub(super) const CLAIMED: Self = Self(1);

    /// [`State::yielding`] of an entry that no live flow has, at least.
    pub(super) const VACANT: u32 = 4 << 24;

    /// [`State::yielding`] of a closed flow, at least; less of one that is opening.
    pub(super) const CLOSED: u32 = 3 << 24;

    const OF_ENDPOINT: u64 = 1 << 1;
    /// The bit of [`State::CLAIMED`], which alone names no endpoint.
    const ONE_SIDED: u64 = 1;
    const TICKS: u64 = 0xff_ffff;

    /// A state. `expires` is a tick; its lower 24 bits are kept.
    #[inline(always)]
    pub const fn new(
        endpoint: u16,
        node_port: u16,
        side: Side,
        progress: Progress,
        expires: u32,
    ) -> Self {
        let side = match side {
            Side::Client => 0,
            Side::Endpoint => Self::OF_ENDPOINT,
        };
        Self(
            (endpoint as u64) << 48
                | (node_port as u64) << 32
                | (expires as u64 & Self::TICKS) << 8
                | progress.byte() as u64
                | side,
        )
    }

    /// Taken by a processor that is filling it, for an endpoint to find: nobody else takes the node port.
    #[inline(always)]
    pub(super) const fn claimed(node_port: u16) -> Self {
        Self(Self::CLAIMED.0 | Self::OF_ENDPOINT | (node_port as u64) << 32)
    }

    #[inline(always)]
    const fn is_claimed(self) -> bool {
        self.endpoint() == 0 && self.0 != Self::EMPTY.0
    }

    /// Of a flow that has this node port, or will have it in a moment.
    #[inline(always)]
    pub(super) const fn holds_port(self, node_port: u16, now: u32) -> bool {
        self.difference_from_endpoints(node_port) == 0 && (self.is_live(now) || self.is_claimed())
    }

    /// As the only entry of a flow whose endpoint answers past the node.
    #[inline(always)]
    #[must_use]
    pub const fn one_sided(self) -> Self {
        Self(self.0 | Self::ONE_SIDED)
    }

    /// Only the client's packets are seen, and find the flow's only entry.
    #[inline(always)]
    pub const fn is_one_sided(self) -> bool {
        self.0 & Self::ONE_SIDED != 0
    }

    /// From a word of the table.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// As a word of the table.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Endpoint id; 0 of an empty or claimed entry.
    #[inline(always)]
    pub const fn endpoint(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Node port towards the endpoint, host order.
    #[inline(always)]
    pub const fn node_port(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// Whose packets find the entry.
    #[inline(always)]
    pub const fn side(self) -> Side {
        if self.0 & Self::OF_ENDPOINT == 0 {
            Side::Client
        } else {
            Side::Endpoint
        }
    }

    /// What was seen of the flow.
    #[inline(always)]
    pub const fn progress(self) -> Progress {
        Progress::from_byte(self.0 as u8)
    }

    /// Ticks from `now` to the end of the flow if it stays silent; not positive once it is over.
    ///
    /// 24 bits of ticks wrap after 13 days.
    #[inline(always)]
    pub const fn remaining(self, now: u32) -> i32 {
        let expires = (self.0 >> 8) as u32;
        (expires.wrapping_sub(now) << 8) as i32 >> 8
    }

    /// An entry of a flow that is not over. Closed flows are live for a moment: the last ACK may be
    /// sent again.
    ///
    /// No limit is longer than 19 hours: what seems to last longer ended long ago, before the ticks wrapped. An
    /// entry that nobody has looked at for twelve days would seem alive again for those 19 hours, so the daemon
    /// sweeps the table now and then.
    #[inline(always)]
    pub const fn is_live(self, now: u32) -> bool {
        const LONGEST: u64 = (MAX_IDLE_SECONDS << SECOND_SHIFT) as u64;
        let remaining = (self.0 >> 8).wrapping_sub(now as u64);
        self.endpoint() != 0 && remaining.wrapping_sub(1) & Self::TICKS < LONGEST
    }

    /// The bits in which it differs from any state of a flow with this node port as its endpoint finds it.
    #[inline(always)]
    pub(super) const fn difference_from_endpoints(self, node_port: u16) -> u64 {
        let wanted = (node_port as u64) << 32 | Self::OF_ENDPOINT;
        (self.0 ^ wanted) & (0xffff << 32 | Self::OF_ENDPOINT)
    }

    /// The same flow: endpoint, node port and side are equal.
    #[inline(always)]
    pub const fn is_same_flow(self, other: Self) -> bool {
        (self.0 ^ other.0) & (0xffff_ffff_0000_0000 | Self::OF_ENDPOINT) == 0
    }

    /// Endpoint and node port are equal: of one flow's two entries, or of two flows' one after the
    /// other.
    #[inline(always)]
    pub(super) const fn has_way_of(self, other: Self) -> bool {
        (self.0 ^ other.0) >> 32 == 0
    }

    /// With another progress and end.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, progress: Progress, expires: u32) -> Self {
        let stays = self.0 & (0xffff_ffff_0000_0000 | Self::OF_ENDPOINT | Self::ONE_SIDED);
        Self(stays | (expires as u64 & Self::TICKS) << 8 | progress.byte() as u64)
    }

    /// How willingly the entry gives way to a new flow; 0: not at all.
    #[inline(always)]
    pub(super) const fn yielding(self, arrival: Arrival) -> u32 {
        const FINISHED: u32 = 2 << 24;
        const OPENING: u32 = 1 << 24;
        if self.0 == Self::EMPTY.0 {
            return Self::VACANT + 1;
        }
        if self.is_claimed() {
            return 0;
        }
        let Arrival { now, idle_ticks } = arrival;
        if !self.is_live(now) {
            return Self::VACANT;
        }
        let remaining = self.remaining(now) as u32;
        // Among equals the one nearest its end: of flows that are opening the oldest.
        let age = 0x7f_ffff - remaining;
        match self.progress().phase() {
            Phase::Closed => Self::CLOSED + age,
            // The client has finished, and whether the endpoint has will never be known.
            Phase::Closing if self.is_one_sided() => FINISHED + age,
            // Unless it came a moment ago: in a flood nobody would finish a handshake if each newcomer sent the
            // one before it away.
            Phase::Opening if idle_ticks.wrapping_sub(remaining) < FRESH_TICKS => 0,
            Phase::Opening => OPENING + age,
            Phase::Open | Phase::Closing => 0,
        }
    }
}

/// When a new flow asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The tick it is.
    pub now: u32,
    /// Ticks it may be silent: others that came when it did have as many left.
    pub idle_ticks: u32,
}

impl Arrival {
    /// As one number.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.idle_ticks as u64) << 32 | self.now as u64
    }

    /// From [`Arrival::word`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            now: word as u32,
            idle_ticks: (word >> 32) as u32,
        }
    }
}

/// One entry of the table.
#[repr(C)]
pub struct Entry<K: Key> {
    key: K::Cells,
    state: Word,
}

impl<K: Key> Entry<K> {
    /// The state as it is now.
    #[inline(always)]
    pub fn state(&self) -> State {
        State(self.state.load())
    }

    /// The key as it is now. It belongs to the state only if the state is the same after it was read.
    #[inline(always)]
    pub fn key(&self) -> K {
        K::load(&self.key)
    }

    /// Key and state that belong together; nothing if the entry is changing hands.
    #[inline(always)]
    pub fn read(&self) -> Option<(K, State)> {
        let before = self.state();
        order();
        let key = self.key();
        order();
        self.state().is_same_flow(before).then_some((key, before))
    }

    /// The state, of an entry whose key was `key` a moment ago and still is: nothing if it is changing hands.
    #[inline(always)]
    pub fn state_with(&self, key: K) -> Option<State> {
        // A state is published after its key: one that is another flow's comes with that flow's key.
        let state = self.state();
        order();
        self.key().is(key).then_some(state)
    }

    /// Changes the state if it still is `from`.
    #[inline(always)]
    pub fn replace(&self, from: State, to: State) -> bool {
        self.state.compare_and_swap(from.0, to.0)
    }

    /// Fills an entry that was claimed, key first.
    #[inline(always)]
    pub(super) fn publish(&self, key: K, state: State) {
        key.store(&self.key);
        order();
        self.state.store(state.0);
    }

    /// Gives a claimed entry back.
    #[inline(always)]
    pub(super) fn release(&self) {
        self.state.store(State::EMPTY.0);
    }
}

/// Entries that are looked through together. Aligned to a cache line.
#[repr(C, align(64))]
pub struct Bucket<K: Key> {
    /// The entries, in no order.
    pub entries: [Entry<K>; WAYS],
}

impl<K: Key> Bucket<K> {
    /// The `index`-th entry. `noise` is any number the verifier cannot know, such as a hash.
    #[inline(always)]
    pub(super) fn entry(&self, index: u32, noise: u64) -> &Entry<K> {
        &self.entries[obscure(index as usize, noise) % WAYS]
    }
}

const _: () = {
    assert!(size_of::<Bucket<[u64; 1]>>() == 64);
    assert!(size_of::<Bucket<[u64; 3]>>() == 128);
};
