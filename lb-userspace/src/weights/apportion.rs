//! Sharing a whole number out in proportion to numbers, exactly.

/// Shares `total` out in proportion to `numbers` by largest remainder: the shares sum to `total`
/// and each differs from the exact one by less than 1; equal remainders go to the earlier number.
/// A number of 0 gets 0. `None` when all numbers are 0.
pub(crate) fn apportion(numbers: &[u64], total: u64) -> Option<Vec<u64>> {
    let sum: u128 = numbers.iter().map(|&number| u128::from(number)).sum();
    if sum == 0 {
        return None;
    }
    let exact = |number: u64| u128::from(number) * u128::from(total);
    let mut shares: Vec<u64> = numbers
        .iter()
        // At most `total`, since number <= sum.
        .map(|&number| (exact(number) / sum) as u64)
        .collect();
    let missing = total - shares.iter().sum::<u64>();
    let mut by_remainder: Vec<usize> = (0..numbers.len()).collect();
    by_remainder.sort_by_key(|&i| std::cmp::Reverse(exact(numbers[i]) % sum));
    for &i in by_remainder.iter().take(missing as usize) {
        shares[i] += 1;
    }
    Some(shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_earlier_number() {
        assert_eq!(apportion(&[1, 1, 1], 10), Some(vec![4, 3, 3]));
        assert_eq!(apportion(&[1, 1, 1], 11), Some(vec![4, 4, 3]));
    }

    #[test]
    fn zeros_share_nothing() {
        assert_eq!(apportion(&[0, 0], 10), None);
        assert_eq!(apportion(&[], 10), None);
        assert_eq!(apportion(&[0, 7, 0], 10), Some(vec![0, 10, 0]));
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_total_and_miss_by_less_than_one(
            numbers in prop::collection::vec(0_u64..5_000_000_000, 1..12),
            total in 0_u64..2_000_000_000,
        ) {
            let Some(shares) = apportion(&numbers, total) else {
                prop_assert!(numbers.iter().all(|&number| number == 0));
                return Ok(());
            };
            prop_assert_eq!(shares.iter().sum::<u64>(), total);
            let sum: u128 = numbers.iter().map(|&n| u128::from(n)).sum();
            for (&number, &share) in numbers.iter().zip(&shares) {
                let exact = u128::from(number) * u128::from(total);
                prop_assert!((u128::from(share) * sum).abs_diff(exact) < sum);
            }
        }
    }
}
