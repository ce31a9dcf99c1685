use proptest::prelude::*;

use super::*;
use crate::table::Endpoint;
use crate::weights::from_relative;

fn most(slots: u32) -> SlotCount {
    SlotCount::try_from(slots).unwrap()
}

/// Backends `b000`, `b001` … of relative weights and numbers of endpoints, with ids from 1.
fn backends(all: &[(u64, usize)]) -> Vec<Backend> {
    let weights = from_relative(&all.iter().map(|it| it.0).collect::<Vec<_>>()).unwrap();
    let mut ids = 1..;
    all.iter()
        .zip(weights)
        .enumerate()
        .map(|(n, (&(_, endpoints), weight))| Backend {
            name: format!("b{n:03}"),
            weight,
            endpoints: ids
                .by_ref()
                .take(endpoints)
                .map(|id| Endpoint {
                    address: format!("b{n}-{id:05}"),
                    id,
                })
                .collect(),
        })
        .collect()
}

fn deal(slots: u32, all: &[(u64, usize)]) -> Table {
    Table::deal(most(slots), &backends(all)).unwrap()
}

#[test]
fn eighty_to_twenty_is_five_turns() {
    let table = deal(65_536, &[(80, 1), (20, 1)]);
    assert_eq!(table.slots(), [1, 1, 2, 1, 1]);
}

#[test]
fn ten_flows_at_eighty_to_twenty_are_eight_and_two_from_any_turn_on() {
    let table = deal(65_536, &[(80, 3), (20, 2)]);
    for start in 0..table.slots().len() {
        let turns = table.slots().iter().cycle().skip(start).take(10);
        assert_eq!(turns.filter(|&&id| id > 3).count(), 2, "from {start}");
    }
}

#[test]
fn an_order_is_as_long_as_all_endpoints_need_to_be_equal() {
    assert_eq!(deal(256, &[(1, 1)]).slots(), [1]);
    assert_eq!(deal(256, &[(1, 3), (0, 1)]).slots(), [1, 2, 3]);
    assert_eq!(deal(256, &[(1, 2), (1, 3)]).slots().len(), 12);
    assert_eq!(deal(65_536, &[(99, 1), (1, 100)]).slots().len(), 10_000);
    // No room for that: as often as the backends' shares go into the slots.
    assert_eq!(deal(256, &[(99, 1), (1, 100)]).slots().len(), 200);
    // Not even for those.
    assert_eq!(deal(256, &[(999, 1), (1, 1)]).slots().len(), 256);
}

#[test]
fn nobody_has_a_turn_without_weight_or_endpoint() {
    let none = backends(&[(1, 1), (0, 0)]);
    assert_eq!(Table::deal(most(256), &none).unwrap().slots(), [1]);
    let missing = backends(&[(1, 1), (1, 0)]);
    let refused = Table::deal(most(256), &missing).unwrap_err();
    assert!(matches!(refused, TableError::NoEndpoint { .. }));
}

#[test]
fn the_digest_depends_on_the_addresses_and_not_on_the_ids() {
    let one = backends(&[(3, 2), (1, 1)]);
    let mut ids = one.clone();
    ids.iter_mut()
        .flat_map(|it| &mut it.endpoints)
        .for_each(|it| it.id += 7);
    let mut address = one.clone();
    address[1].endpoints[0].address += "0";
    let digest = |backends: &[Backend]| Table::deal(most(256), backends).unwrap().digest();
    assert_eq!(digest(&one), digest(&ids));
    assert_ne!(digest(&one), digest(&address));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_window_gives_each_backend_its_share(
        all in prop::collection::vec((0_u64..1000, 1_usize..5), 1..12),
        power in 8_u32..13,
        windows in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..20_000), 64),
    ) {
        let mut all = all;
        all[0].0 += 1;
        let table = deal(1 << power, &all);
        let turns = table.slots().len();
        let with_turns = table.shares().iter().filter(|it| it.slots > 0).count();
        for (backend, share) in table.shares().iter().enumerate() {
            // How far ahead or behind after each turn, in turns · length.
            let mut ahead = vec![0_i64];
            for &owner in &table.owners {
                let step = if usize::from(owner) == backend { turns as i64 } else { 0 };
                ahead.push(ahead[ahead.len() - 1] + step - i64::from(share.slots));
            }
            prop_assert_eq!(ahead[turns], 0);
            for (start, length) in &windows {
                let start = start.index(turns);
                let end = (start + length) % turns;
                let off = (ahead[end] - ahead[start]).unsigned_abs() as usize;
                prop_assert!(off < 2 * turns, "{off} of {turns}");
                if with_turns <= 2 {
                    prop_assert!(off <= turns, "{off} of {turns}");
                }
            }
        }
    }

    #[test]
    fn endpoints_of_a_backend_follow_each_other(
        all in prop::collection::vec((1_u64..100, 1_usize..9), 1..6),
    ) {
        let backends = backends(&all);
        let table = Table::deal(SlotCount::MAX, &backends).unwrap();
        for (n, backend) in backends.iter().enumerate() {
            let own = table.slots().iter().zip(&table.owners);
            let own = own.filter(|(_, owner)| usize::from(**owner) == n).map(|(id, _)| *id);
            let expected = backend.endpoints.iter().map(|it| it.id).cycle();
            prop_assert!(own.zip(expected).all(|(id, expected)| id == expected));
        }
    }

    #[test]
    fn listing_order_does_not_matter(
        all in prop::collection::vec((1_u64..100, 1_usize..4), 2..6),
    ) {
        let mut listed = backends(&all);
        let table = Table::deal(most(1024), &listed).unwrap();
        listed.reverse();
        listed.iter_mut().for_each(|it| it.endpoints.reverse());
        prop_assert_eq!(Table::deal(most(1024), &listed).unwrap(), table);
    }
}
