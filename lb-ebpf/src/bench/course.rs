//! What the benchmark tells the driver; one file, compiled into both.

/// Words of a packet's headers after the first bytes of the link layer: up to the end of TCP.
pub const WORDS: usize = 9;

/// The packets of a measurement. Map `COURSE`: index 0, written by the benchmark before each run; the
/// driver moves `position` on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The packet's number.
    pub position: u64,
    /// Where in the walk its flows start.
    pub start: u64,
    /// Flows − 1, a power of two less one; [`Course::ENDLESS`]: every packet is a new flow's.
    pub mask: u64,
    /// First bytes of the frame: 2 of them (IPv4) or 6 (IPv6), so that the words that follow start
    /// where the addresses do and nobody reads across two of them.
    pub lead: [u8; 8],
    /// The rest of the headers. Where a [`Stop`] has its say they hold what all flows have in common:
    /// both are joined by "or".
    pub words: [u64; WORDS],
    /// 4 or 6.
    pub family: u64,
    /// Bytes of the frame, if the program under test makes it longer; else 0.
    pub length: u64,
}

impl Course {
    /// Value of `mask` for packets of flows never seen before.
    pub const ENDLESS: u64 = u64::MAX;
}

/// What one flow's packets differ in. Map `WALK`: in the order the flows are visited, written by the
/// benchmark. Network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// The last four bytes of the source address.
    pub source: [u8; 4],
    /// Source port, destination port.
    pub ports: [[u8; 2]; 2],
}
