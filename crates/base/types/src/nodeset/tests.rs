//! The notation, forth and back.

use proptest::prelude::*;

use super::*;
use crate::ClusterName;

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn group(text: &str) -> GroupName {
    GroupName::new(text).unwrap()
}

/// A small cluster: three web nodes, a database, and names with zeros.
fn cluster() -> Vec<(NodeName, GroupName)> {
    let nodes = ["web-10", "web-1", "web-2", "db-1", "cn01", "cn02", "cn10"];
    nodes.map(|node| (name(node), group(node.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')))).to_vec()
}

fn select(text: &str) -> Result<Vec<String>, Unknown> {
    let cluster = cluster();
    let selected = NodeSet::parse(text).unwrap().select(cluster.iter().map(|(node, group)| (node, group)))?;
    Ok(selected.iter().map(NodeName::to_string).collect())
}

#[test]
fn sets_select_nodes_in_natural_order_each_once() {
    for (text, expected) in [
        ("web-1", vec!["web-1"]),
        ("web-10,web-2,web-1", vec!["web-1", "web-2", "web-10"]),
        (" web-2 , db-1 ", vec!["db-1", "web-2"]),
        ("web-[1-2,10],web-1", vec!["web-1", "web-2", "web-10"]),
        ("cn[01-02,10]", vec!["cn01", "cn02", "cn10"]),
        ("cn[0-1]0,cn10", vec![]),
        ("cn[0][1-2]", vec!["cn01", "cn02"]),
        ("@web", vec!["web-1", "web-2", "web-10"]),
        ("@db,@web,web-1", vec!["db-1", "web-1", "web-2", "web-10"]),
        ("*", vec!["cn01", "cn02", "cn10", "db-1", "web-1", "web-2", "web-10"]),
        ("all,web-1", vec!["cn01", "cn02", "cn10", "db-1", "web-1", "web-2", "web-10"]),
        ("@*", vec!["cn01", "cn02", "cn10", "db-1", "web-1", "web-2", "web-10"]),
    ] {
        match select(text) {
            Ok(selected) => assert_eq!(selected, expected, "{text}"),
            Err(unknown) => assert_eq!((unknown.names, expected.len()), (vec!["cn00".to_owned()], 0), "{text}"),
        }
    }
    assert_eq!(NodeSet::all(), NodeSet::parse("*").unwrap());
}

#[test]
fn unknown_names_are_all_told_as_they_were_written() {
    let unknown = select("web-[9-11],@mail,web-1,db-7,db-7,@mail,cn1").unwrap_err();
    assert_eq!(unknown.names, ["web-9", "web-11", "@mail", "db-7", "cn1"]);
    assert_eq!(unknown.to_string(), "there is no web-9, no web-11, no @mail, no db-7, no cn1");
}

#[test]
fn mistakes_are_pointed_at() {
    for (text, position, message) in [
        ("", 0, "a name is missing"),
        ("web-1,,web-2", 6, "a name is missing"),
        ("web-1,", 6, "a name is missing"),
        ("web-1, ,b", 7, "a name is missing"),
        ("web-[1-3", 4, "the bracket is not closed"),
        ("web-1]", 5, "a bracket closes that was not opened"),
        ("web-[1-[2]]", 7, "a bracket opens within brackets"),
        ("web-[]", 5, "there is nothing"),
        ("web-[1,]", 7, "there is nothing"),
        ("web-[1-]", 7, "there is nothing"),
        ("web-[a]", 5, "there is `a`"),
        ("web-[1-2-3]", 7, "there is `2-3`"),
        ("web-[1-9/2]", 7, "there is `9/2`"),
        ("db-1,web-[3-1]", 10, "runs backwards"),
        ("cn[08-100]", 3, "different numbers of digits"),
        ("cn[1234567890]", 3, "too long"),
        ("web-*", 4, "`*` does not belong"),
        ("web-1!web-2", 5, "`!` does not belong"),
        ("äö,web 1", 0, "`ä` does not belong"),
        ("a,ö", 2, "`ö` does not belong"),
        ("web-1 web-2", 5, "` ` does not belong"),
        ("demo:web", 4, "`:` does not belong"),
        ("web-", 0, "holds `-`"),
        ("@", 1, "cannot be empty"),
        ("db-1,@we[b]", 6, "holds `[`"),
        ("a[1-60000],b[1-60000]", 11, "more than 65536 names"),
        ("a[0-999999999][0-999999999][0-999999999]", 0, "more than 65536 names"),
    ] {
        let error = NodeSet::parse(text).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(!error.hint.is_empty(), "{text}");
        assert!(error.to_string().ends_with(&format!("(at character {})", position + 1)));
    }
}

#[test]
fn the_largest_set_is_taken() {
    let text = format!("n[1-{NODE_SET_NAMES_MAX}]");
    let Part::Nodes(names) = &NodeSet::parse(&text).unwrap().parts[0] else { panic!("names expected") };
    assert_eq!(names.len(), NODE_SET_NAMES_MAX);
    assert!(NodeSet::parse(&format!("{text},x")).is_err());
    assert!(NodeSet::parse(&format!("{text},*,@web")).is_ok());
}

#[test]
fn a_cluster_may_stand_in_front() {
    let demo = ClusterName::new("demo").unwrap();
    assert_eq!(split_cluster("demo:web-[1-3]").unwrap(), (Some(demo.clone()), "web-[1-3]"));
    assert_eq!(split_cluster("demo:").unwrap(), (Some(demo), ""));
    assert_eq!(split_cluster("web-1").unwrap(), (None, "web-1"));
    for bad in [":web-1", "de mo:web-1", "@web:x"] {
        assert_eq!(split_cluster(bad).unwrap_err().position, 0, "{bad}");
    }
}

#[test]
fn names_are_folded() {
    for (names, expected) in [
        (vec![], ""),
        (vec!["web-1"], "web-1"),
        (vec!["web-5", "web-1", "web-3", "web-2"], "web-[1-3,5]"),
        (vec!["web-1", "web-1"], "web-1"),
        (vec!["web-9", "web-10"], "web-[9-10]"),
        (vec!["cn08", "cn09", "cn10", "cn12"], "cn[08-10,12]"),
        (vec!["cn09", "cn9", "cn10", "cn100"], "cn[09-10],cn[9,100]"),
        (vec!["web-2", "head", "db-1", "web-1"], "db-1,head,web-[1-2]"),
        (vec!["1", "2"], "[1-2]"),
        (vec!["x1234567890", "x1234567891"], "x1234567890,x1234567891"),
    ] {
        let names: Vec<_> = names.into_iter().map(name).collect();
        assert_eq!(fold(&names), expected);
    }
}

fn any_name() -> impl Strategy<Value = NodeName> {
    "[ab0-3]{1,3}(-[ab]{1,2})?(-[0-9]{1,3}|[0-9]{0,3})".prop_map(|text| name(&text))
}

proptest! {
    #[test]
    fn what_was_folded_unfolds_to_the_same(names in prop::collection::vec(any_name(), 1..60)) {
        let folded = fold(&names);
        let web = group("web");
        let selected = NodeSet::parse(&folded).unwrap().select(names.iter().map(|name| (name, &web))).unwrap();
        prop_assert_eq!(&selected, &sorted(names.iter().collect()));
        prop_assert_eq!(fold(&selected), folded);
    }

    #[test]
    fn whatever_is_written_is_taken_or_pointed_at(text in "[ab01 ,@*:!äω\\[\\]-]{0,30}") {
        match NodeSet::parse(&text) {
            Ok(set) => {
                let names = set.parts.iter().map(|part| if let Part::Nodes(names) = part { names.len() } else { 0 });
                prop_assert!(names.sum::<usize>() <= NODE_SET_NAMES_MAX);
            }
            Err(error) => {
                prop_assert!(error.position <= text.chars().count());
                prop_assert!(!error.hint.is_empty() && !error.message.is_empty());
            }
        }
    }

    #[test]
    fn a_range_holds_its_ends_and_all_between(first in 0u32..2000, more in 0u32..500, width in 0usize..6) {
        let last = first + more;
        let digits = last.to_string().len().max(width);
        let text = format!("n[{first:0digits$}-{last:0digits$}]");
        let Part::Nodes(names) = &NodeSet::parse(&text).unwrap().parts[0] else { panic!("names expected") };
        let expected: Vec<_> = (first..=last).map(|number| name(&format!("n{number:0digits$}"))).collect();
        prop_assert_eq!(names, &expected);
    }
}
