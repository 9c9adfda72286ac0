//! MPI_Dims_create (MPI-5.0 §8.5.2): a balanced factorization.

use crate::base::error::Result;
use crate::fail;
use std::cmp::Reverse;

/// `dims` with its zeros replaced, so that the product is `nodes`. The new dimensions are as close to each other as
/// they can be (the least difference of largest and smallest; among equals the larger smallest, then second smallest
/// ...) and in non-increasing order.
///
/// # Errors
/// `Arg`: no nodes; `Dims`: a negative dimension, or given dimensions whose product does not divide `nodes`.
pub fn create(nodes: i32, dims: &[i32]) -> Result<Vec<i32>> {
    if nodes < 1 {
        fail!(Arg, "nnodes is {nodes}");
    }
    if let Some(negative) = dims.iter().find(|&&d| d < 0) {
        fail!(Dims, "dimension {negative} is negative");
    }
    let given = dims.iter().filter(|&&d| d > 0);
    let product = given.fold(1i64, |p, &d| p.saturating_mul(i64::from(d)));
    if i64::from(nodes) % product != 0 {
        fail!(
            Dims,
            "the given dimensions' product {product} does not divide nnodes = {nodes}"
        );
    }
    let rest = (i64::from(nodes) / product) as u64;
    let free = dims.iter().filter(|&&d| d == 0).count();
    if free == 0 && rest != 1 {
        fail!(
            Dims,
            "the given dimensions' product {product} is not nnodes = {nodes}"
        );
    }
    let mut found = balanced(rest, free).into_iter();
    let fill = |&d: &i32| {
        if d > 0 {
            d
        } else {
            found.next().map_or(1, |f| f as i32)
        }
    };
    Ok(dims.iter().map(fill).collect())
}

/// `count` factors of `number`, largest first, balanced as [`create`] says.
fn balanced(number: u64, count: usize) -> Vec<u64> {
    if count <= 1 {
        return vec![number; count];
    }
    let divisors = divisors(number);
    // Every pair of a smallest and a largest factor, the closest first; then the larger smallest.
    let mut pairs = Vec::new();
    for &large in divisors.iter().filter(|&&d| at_least(d, count, number)) {
        for &small in divisors
            .iter()
            .take_while(|&&d| d <= large && at_most(d, count, number))
        {
            if number.is_multiple_of(large * small) {
                pairs.push((large - small, Reverse(small), large));
            }
        }
    }
    pairs.sort_unstable();
    for (_, Reverse(small), large) in pairs {
        let between: Vec<u64> = divisors
            .iter()
            .copied()
            .filter(|d| (small..=large).contains(d))
            .collect();
        let mut factors = vec![small];
        if fill(
            number / large / small,
            count - 2,
            small,
            &between,
            &mut factors,
        ) {
            factors.push(large);
            factors.reverse();
            return factors;
        }
    }
    // Not reached: number * 1 * 1 ... is such a factorization.
    let mut factors = vec![1; count];
    factors[0] = number;
    factors
}

/// Appends `count` factors of `number` from `between`, non-decreasing and none below `limit`, the largest first factor
/// that works, and so on.
fn fill(number: u64, count: usize, limit: u64, between: &[u64], factors: &mut Vec<u64>) -> bool {
    let Some(&largest) = between.last() else {
        return false;
    };
    if count == 0 {
        return number == 1;
    }
    let fits = |d: u64| d >= limit && number.is_multiple_of(d) && at_most(d, count, number);
    for &d in between.iter().rev().filter(|&&d| fits(d)) {
        // The largest allowed factor must be enough in the remaining places.
        if !at_least(largest, count - 1, number / d) {
            continue;
        }
        factors.push(d);
        if fill(number / d, count - 1, d, between, factors) {
            return true;
        }
        factors.pop();
    }
    false
}

/// Is `factor^count >= number`?
fn at_least(factor: u64, count: usize, number: u64) -> bool {
    u128::from(factor)
        .checked_pow(count as u32)
        .is_none_or(|power| power >= u128::from(number))
}

/// Is `factor^count <= number`?
fn at_most(factor: u64, count: usize, number: u64) -> bool {
    u128::from(factor)
        .checked_pow(count as u32)
        .is_some_and(|power| power <= u128::from(number))
}

/// All divisors, in order.
fn divisors(number: u64) -> Vec<u64> {
    let mut small = Vec::new();
    let mut large = Vec::new();
    let mut d = 1;
    while d * d <= number {
        if number.is_multiple_of(d) {
            small.push(d);
            if d * d != number {
                large.push(number / d);
            }
        }
        d += 1;
    }
    small.extend(large.into_iter().rev());
    small
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Class;

    fn free(nodes: i32, count: usize) -> Vec<i32> {
        create(nodes, &vec![0; count]).unwrap()
    }

    #[test]
    fn the_standards_examples() {
        assert_eq!(create(6, &[0, 0]).unwrap(), [3, 2]);
        assert_eq!(create(7, &[0, 0]).unwrap(), [7, 1]);
        assert_eq!(create(6, &[0, 3, 0]).unwrap(), [2, 3, 1]);
        assert_eq!(create(7, &[0, 3, 0]).unwrap_err().class, Class::Dims);
    }

    #[test]
    fn balanced_in_any_number_of_dimensions() {
        assert_eq!(free(72, 2), [9, 8]);
        assert_eq!(free(6125, 2), [125, 49]);
        assert_eq!(free(1_000_000_000, 3), [1000, 1000, 1000]);
        assert_eq!(free(152_064, 3), [66, 48, 48]);
        assert_eq!(free(163_170, 3), [74, 49, 45]);
        assert_eq!(free(64, 4), [4, 4, 2, 2]);
        assert_eq!(free(8, 4), [2, 2, 2, 1]);
        assert_eq!(free(476_280, 10), [7, 7, 5, 4, 3, 3, 3, 3, 3, 2]);
        assert_eq!(
            free(884_736, 17),
            [4, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
        );
        assert_eq!(free(i32::MAX, 3), [i32::MAX, 1, 1]);
        assert_eq!(free(1, 3), [1, 1, 1]);
        assert_eq!(free(12, 1), [12]);
    }

    #[test]
    fn many_dimensions_of_a_number_with_many_divisors_are_quick() {
        for count in 2..20 {
            let dims = free(735_134_400, count);
            assert_eq!(dims.iter().map(|&d| d as i64).product::<i64>(), 735_134_400);
            assert!(dims.is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn given_dimensions_stay() {
        assert_eq!(create(16, &[2, 0, 2, 0]).unwrap(), [2, 2, 2, 2]);
        assert_eq!(create(4, &[2, 2]).unwrap(), [2, 2]);
        assert_eq!(create(1, &[]).unwrap(), [0i32; 0]);
        assert_eq!(create(4, &[2]).unwrap_err().class, Class::Dims);
        assert_eq!(create(4, &[-1, 0]).unwrap_err().class, Class::Dims);
        assert_eq!(create(0, &[0]).unwrap_err().class, Class::Arg);
        assert_eq!(create(4, &[i32::MAX; 9]).unwrap_err().class, Class::Dims);
    }
}
