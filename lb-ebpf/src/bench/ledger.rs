//! The values of the yardstick's maps; one file, compiled into it and into the benchmark.

/// Slots of a service's table; there are two services.
pub const SLOTS: u32 = 65_536;
/// First node port, and how many.
pub const NODE_PORTS: (u16, u16) = (10_240, 19_760);

/// One direction of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The client.
    pub client: [u64; 2],
    /// Service id.
    pub service: u32,
    /// Endpoint id.
    pub endpoint: u32,
    /// Towards the endpoint: the node port; towards the client: the client's port. Host order.
    pub port: u16,
    /// Zero.
    pub padding: [u16; 3],
}

/// An endpoint, or a virtual address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its address, wide.
    pub address: [u64; 2],
    /// The node's address that packets to it come from, wide.
    pub node: [u64; 2],
    /// Its port, host order.
    pub port: u16,
    /// The fixed next hop: towards the endpoint, or back to the clients.
    pub source_mac: [u8; 6],
    /// See `source_mac`.
    pub destination_mac: [u8; 6],
    /// Zero.
    pub padding: u16,
}

/// What was counted of an endpoint: to it, from it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: [u64; 2],
    /// Bytes of their IP packets.
    pub bytes: [u64; 2],
}
