use proptest::prelude::*;

use super::super::{SlotCount, hash};
use super::*;

/// Quotas in proportion to weights, at least one slot each, that sum to the slots.
fn quotas(weights: &[u32], slots: u32) -> Vec<u32> {
    let sum: u32 = weights.iter().sum();
    let rest = slots - weights.len() as u32;
    let mut quotas: Vec<u32> = weights.iter().map(|w| 1 + rest * w / sum).collect();
    quotas[0] += slots - quotas.iter().sum::<u32>();
    quotas
}

/// Counts are the quotas, and no exchange of slots along any cycle of backends gains noise.
fn assert_best(noise: &[Noise], quotas: &[u32], owners: &[u8]) {
    let backends = noise.len();
    let mut counts = vec![0; backends];
    let mut regrets = vec![vec![i64::MAX / 4; backends]; backends];
    for (slot, &owner) in owners.iter().enumerate() {
        counts[usize::from(owner)] += 1;
        let level = |k: usize| i64::from(noise[k].levels()[slot]);
        for (to, regret) in regrets[usize::from(owner)].iter_mut().enumerate() {
            *regret = (*regret).min(level(owner.into()) - level(to));
        }
    }
    assert_eq!(counts, quotas);
    for by in 0..backends {
        for from in 0..backends {
            for to in 0..backends {
                let there = regrets[from][by] + regrets[by][to];
                regrets[from][to] = regrets[from][to].min(there);
            }
        }
    }
    for (backend, regrets) in regrets.iter().enumerate() {
        assert!(
            regrets[backend] >= 0,
            "{backend} could gain {}",
            regrets[backend]
        );
    }
}

fn drawn(seed: u64, backends: usize, slots: u32) -> (Vec<String>, Vec<Noise>) {
    let names: Vec<String> = (0..backends).map(|n| format!("b{n:03}")).collect();
    let slots = SlotCount::try_from(slots).unwrap();
    let noise = names.iter().map(|name| Noise::draw(seed, name, slots));
    (names.clone(), noise.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_other_assignment_with_these_counts_has_more_noise(
        seed: u64,
        power in 8_u32..=12,
        weights in prop::collection::vec(
            prop_oneof![Just(1_u32), 1_u32..100, 1_u32..1_000_000],
            2..60,
        ),
    ) {
        let slots = 1 << power;
        let quotas = quotas(&weights.iter().map(|w| w % (1 << 18) + 1).collect::<Vec<_>>(), slots);
        let (names, noise) = drawn(seed, weights.len(), slots);
        let all: Vec<&Noise> = noise.iter().collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let levels: Vec<(&str, &[i32])> =
            names.iter().copied().zip(noise.iter().map(Noise::levels)).collect();
        let rank = Rank::bring_up_to_date(None, &levels, 2);
        let ranked = rank.as_ref().map(|rank| rank.among(&names));
        let owners = give_out(&all, &quotas, ranked.as_ref());
        assert_best(&noise, &quotas, &owners);
        // Who was ranked before, and with whom, changes nothing.
        let before = Rank::bring_up_to_date(None, &levels[..levels.len() / 2 + 1], 1);
        let rank = Rank::bring_up_to_date(before, &levels, 1);
        let ranked = rank.as_ref().map(|rank| rank.among(&names));
        prop_assert_eq!(&give_out(&all, &quotas, ranked.as_ref()), &owners);
        prop_assert_eq!(&give_out(&all, &quotas, None), &owners);
    }
}

#[test]
fn the_heavy_and_the_light_get_their_slots() {
    let mut state = 0;
    for heavy in [1, 7, 40] {
        let mut weights = vec![1; 40];
        weights[..heavy].fill(1000);
        state = hash::mix(state);
        let quotas = quotas(&weights, 4096);
        let (_, noise) = drawn(state, 40, 4096);
        let all: Vec<&Noise> = noise.iter().collect();
        assert_best(&noise, &quotas, &give_out(&all, &quotas, None));
    }
}
