//! Which clients of a service have a table of their own.

use aya_ebpf::maps::lpm_trie::Key;
use lb_common::{
    address::{Address, V4, V6},
    record::TableRef,
};

use crate::maps::{RULES4, RULES6, rule_table_word};

/// Looks a client up in the rules of its family.
pub trait Ruled: Address {
    /// The rule with the longest prefix.
    fn rule(self, service: u16) -> Option<u32>;
}

impl Ruled for V4 {
    #[inline(always)]
    fn rule(self, service: u16) -> Option<u32> {
        RULES4
            .get(Key::new(u32::BITS * 2, [service as u32, self.0]))
            .copied()
    }
}

impl Ruled for V6 {
    #[inline(always)]
    fn rule(self, service: u16) -> Option<u32> {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| self.word(i));
        RULES6
            .get(Key::new(u32::BITS * 5, [service as u32, a, b, c, d]))
            .copied()
    }
}

/// The rule of a client and its table.
#[inline(always)]
pub fn of_client<A: Ruled>(service: u16, client: A) -> Option<(u32, u64)> {
    let rule = client.rule(service)?;
    let word = rule_table_word(rule);
    // Taken back while this packet was under way: as if it had come later.
    (word != TableRef::NONE).then_some((rule, word))
}
