//! How much a plan may take away before it needs a word of its own.

use muster_plan::{Action, plan};

use crate::fixture::parse;

/// A cluster of so many nodes that are there, of which so many are replaced.
fn lost(there: u32, replaced: u32, asked: impl Fn(&Action) -> bool) -> Option<usize> {
    let lines = (1..=there).map(|index| {
        let hash = if index <= replaced { "new" } else { "old" };
        format!(
            "desired web-{index} web hash={hash}\nobserved m{index} web-{index} token=t{index} running\n\
             recorded web-{index} web token=t{index} hash=old phase=ready machine=m{index}\nfacts web-{index} answers none\n"
        )
    });
    let plan = plan(&parse(&lines.collect::<String>()));
    assert_eq!(plan.summary().replace, replaced as usize, "{plan}");
    plan.surprising_losses(asked).map(|nodes| nodes.len())
}

#[test]
fn one_is_always_allowed_and_a_third_of_many() {
    let none = |_: &Action| false;
    for (there, replaced, expected) in
        [(1, 1, None), (2, 1, None), (2, 2, Some(2)), (5, 2, Some(2)), (6, 2, None), (9, 3, None), (9, 4, Some(4))]
    {
        assert_eq!(lost(there, replaced, none), expected, "{replaced} of {there}");
    }
}

#[test]
fn what_was_named_is_no_surprise() {
    assert_eq!(lost(4, 4, |_| true), None);
    assert_eq!(lost(4, 4, |action| action.node.as_str() == "web-1"), Some(3));
    assert_eq!(lost(4, 4, |action| action.node.as_str() != "web-1"), None);
}
