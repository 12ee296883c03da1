//! The order in which people count: `web-2` before `web-10`.

use std::cmp::Ordering;

/// Compares digits by their value and everything else by its bytes; equal values with unequal zeros in front (`1`,
/// `01`) by their text, so that only equal texts are equal.
pub fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut one, mut two) = (left.as_bytes(), right.as_bytes());
    while let (Some(&first), Some(&second)) = (one.first(), two.first()) {
        let order = if first.is_ascii_digit() && second.is_ascii_digit() {
            let (a, b);
            (a, one) = number(one);
            (b, two) = number(two);
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        } else {
            (one, two) = (&one[1..], &two[1..]);
            first.cmp(&second)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&two.len()).then_with(|| left.cmp(right))
}

/// The digits in front without their leading zeros, and the rest. Without zeros the longer number is the larger.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len());
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let mut names = ["web-10", "web-2", "db-3", "web-1", "web-01", "web", "cn9a2", "cn10a1", "cn9a10", "web-1b"];
        names.sort_by(|left, right| natural_order(left, right));
        let expected = ["cn9a2", "cn9a10", "cn10a1", "db-3", "web", "web-01", "web-1", "web-1b", "web-2", "web-10"];
        assert_eq!(names, expected);
        assert_eq!(natural_order("n99999999999999999999999", "n100000000000000000000000"), Ordering::Less);
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[ab01-]{0,6}", b in "[ab01-]{0,6}", c in "[ab01-]{0,6}") {
            prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
            prop_assert_eq!(natural_order(&a, &b) == Ordering::Equal, a == b);
            if natural_order(&a, &b).is_le() && natural_order(&b, &c).is_le() {
                prop_assert!(natural_order(&a, &c).is_le());
            }
        }
    }
}
