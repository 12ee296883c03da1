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
        ("web-[1-9/]", 9, "there is nothing"),
        ("web-[1-9/0]", 9, "a step of 0"),
        ("web-[1/a]", 7, "there is `a`"),
        ("db-1,web-[3-1]", 10, "runs backwards"),
        ("cn[08-100]", 3, "different numbers of digits"),
        ("cn[1234567890123456789]", 3, "too long"),
        ("web-1!", 6, "a name is missing"),
        ("!web-1", 0, "a name is missing"),
        ("*&", 2, "a name is missing"),
        ("web-1!!web-2", 6, "a name is missing"),
        ("role!=worker", 5, "a key is missing"),
        ("ro le=worker", 0, "`ro le` cannot be a key"),
        ("role=", 5, "a value is missing"),
        ("role=a=b", 6, "`=` does not belong"),
        ("a~b", 1, "`~` does not belong"),
        ("~", 1, "a regular expression is missing"),
        ("db-1,~web-(", 6, "not a regular expression: unclosed group"),
        ("äö,web 1", 0, "`ä` does not belong"),
        ("a,ö", 2, "`ö` does not belong"),
        ("web-1 web-2", 5, "` ` does not belong"),
        ("demo:web", 4, "`:` does not belong"),
        ("@", 1, "the name of a group is missing"),
        ("db-1,@we[b]", 9, "there is `b`"),
        ("a[1-60000],b[1-60000]", 11, "more than 65536 names"),
        ("a[0-999999999][0-999999999][0-999999999]", 0, "more than 65536 names"),
        ("a[0-999999999999999999]", 0, "more than 65536 names"),
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
    let set = NodeSet::parse(&text).unwrap();
    assert_eq!(set.names().unwrap().len(), NODE_SET_NAMES_MAX);
    assert!(NodeSet::parse(&format!("{text},x")).is_err());
    assert!(NodeSet::parse(&format!("{text},*,~x")).is_ok());
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
        (vec!["x1234567890", "x1234567891"], "x[1234567890-1234567891]"),
        (vec!["x1234567890123456789", "x1234567890123456780"], "x1234567890123456780,x1234567890123456789"),
        (vec!["r1n1", "r2n2", "r1n2", "r2n1"], "r[1-2]n[1-2]"),
        (vec!["r1n1", "r2n2", "r1n2"], "r1n[1-2],r2n2"),
        (vec!["r01n1", "r02n1", "r10n1", "r9n1"], "r[01-02,10]n1,r9n1"),
        (vec!["a1b", "a2b", "a3c"], "a[1-2]b,a3c"),
    ] {
        let names: Vec<_> = names.into_iter().map(name).collect();
        assert_eq!(fold(&names), expected);
    }
}

fn any_name() -> impl Strategy<Value = NodeName> {
    "[ab0-3]{1,3}(-[ab]{1,2})?(-[0-9]{1,3}|[0-9]{0,3})".prop_map(|text| name(&text))
}

#[test]
fn operators_work_from_left_to_right() {
    for (text, expected) in [
        ("web-[1-2,10]!web-1", "web-[2,10]"),
        ("*!@web", "cn[01-02,10],db-1"),
        ("@web&web-[1-2]", "web-[1-2]"),
        ("web-1,db-1&@db", "db-1"),
        ("@db&web-1,db-1", "db-1"),
        ("web-[1-2]^web-[2,10]", "web-[1,10]"),
        ("*!@web!@cn,web-1", "db-1,web-1"),
        ("@web ! web-1", "web-[2,10]"),
        ("cn*", "cn[01-02,10]"),
        ("cn?1,web-?", "cn01,web-[1-2]"),
        ("cn[0-1]?&cn*0", "cn10"),
        ("@w*,@d?", "db-1,web-[1-2,10]"),
        ("web-[1-9/9]", "web-1"),
        ("cn[02-10/8]", "cn[02,10]"),
        ("~web-(1|2)", "web-[1-2]"),
        ("~web-[0-9]{2,3}", "web-10"),
        ("~^web-\\d+$!web-1", "web-[2,10]"),
        ("db-1,~cn(01|02),web-1", "cn[01-02],db-1,web-1"),
        ("group=web!name=web-1?", "web-[1-2]"),
        ("role=work*", "web-[1-2,10]"),
        ("role=db,rack=r[1-2]", "db-1,web-[1-2]"),
        ("rack=r1^role=worker", "web-[2,10]"),
    ] {
        assert_eq!(select_with_attributes(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn patterns_without_a_node_are_told() {
    for (text, told) in [
        ("web-*!mail-*", "mail-*"),
        ("@w?", "@w?"),
        ("role=workr", "role=workr"),
        ("colour=red,group=mail", "colour=red"),
        ("~web", "node whose whole name fits ~web"),
        ("*!web-3", "web-3"),
    ] {
        assert_eq!(select_with_attributes(text).unwrap_err().names[0], told, "{text}");
    }
}

fn select_with_attributes(text: &str) -> Result<String, Unknown> {
    let cluster = cluster();
    let candidates: Vec<_> = cluster
        .iter()
        .map(|(name, group)| {
            let rack = match name.as_str() {
                "web-1" => Some(("rack", "r1")),
                "web-2" => Some(("rack", "r2")),
                _ => None,
            };
            let role = if group.as_str() == "web" { "worker" } else { group.as_str() };
            let attributes = rack.into_iter().chain([("role", role)]).collect();
            Candidate { name: name.as_str(), group: group.as_str(), attributes }
        })
        .collect();
    let set = NodeSet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Ok(fold_names(set.select_from(&candidates)?))
}

#[test]
fn names_need_no_cluster_unless_the_expression_asks_for_one() {
    for (text, expected) in [
        ("web-[3-1/2],x", None),
        ("web-[1-9/4],mail_2.example.org", Some(vec!["mail_2.example.org", "web-1", "web-5", "web-9"])),
        ("a[1-5]!a[2-4]^a[1,7]", Some(vec!["a5", "a7"])),
        ("a[1-5]&b1", Some(vec![])),
        ("r[1-2]n[08-09]", Some(vec!["r1n08", "r1n09", "r2n08", "r2n09"])),
    ] {
        let set = NodeSet::parse(text).ok();
        assert_eq!(set.as_ref().and_then(NodeSet::names), expected, "{text}");
    }
    for text in ["*", "@web", "role=x", "~x", "a*", "a,b!@web"] {
        assert_eq!(NodeSet::parse(text).unwrap().names(), None, "{text}");
    }
}

#[test]
fn ten_thousand_irregular_names_fold_to_themselves() {
    // A walk through remainders, so that gaps, widths and both numbers vary.
    let names: Vec<String> = (0_u64..10_000)
        .map(|n| match n % 4 {
            0 => format!("r{}n{}", n * 7919 % 97, n * 104_729 % 211),
            1 => format!("cn{:05}", n * 7919 % 30_011),
            2 => format!("rack{}-node{}-{}", n * 31 % 13, n * 17 % 41, n * 7 % 101),
            _ => format!("web-{}.example.org", n * 7919 % 20_011),
        })
        .collect();
    let folded = fold_names(names.iter().map(String::as_str));
    let distinct: HashSet<&str> = names.iter().map(String::as_str).collect();
    let set = NodeSet::parse(&folded).unwrap();
    assert_eq!(set.names().unwrap(), sorted(distinct));
}

/// An expression, and what it means by the definition of its operators, told with plain sets.
#[derive(Debug, Clone)]
enum Told {
    Names(Vec<u32>),
    All,
    Without(Box<Told>, Vec<u32>),
    And(Box<Told>, Vec<u32>),
    Either(Box<Told>, Vec<u32>),
    Both(Box<Told>, Vec<u32>),
}

impl Told {
    fn text(&self) -> String {
        let list = |numbers: &[u32]| {
            let numbers: Vec<_> =
                numbers.iter().map(|n| if n % 2 == 0 { format!("{n}") } else { format!("{n}-{n}") }).collect();
            format!("n[{}]", numbers.join(","))
        };
        match self {
            Self::Names(numbers) => list(numbers),
            Self::All => "*".to_owned(),
            Self::And(left, right) => format!("{},{}", left.text(), list(right)),
            Self::Without(left, right) => format!("{}!{}", left.text(), list(right)),
            Self::Both(left, right) => format!("{} & {}", left.text(), list(right)),
            Self::Either(left, right) => format!("{}^{}", left.text(), list(right)),
        }
    }

    fn holds(&self, number: u32) -> bool {
        match self {
            Self::Names(numbers) => numbers.contains(&number),
            Self::All => true,
            Self::And(left, right) => left.holds(number) || right.contains(&number),
            Self::Without(left, right) => left.holds(number) && !right.contains(&number),
            Self::Both(left, right) => left.holds(number) && right.contains(&number),
            Self::Either(left, right) => left.holds(number) != right.contains(&number),
        }
    }
}

fn told() -> impl Strategy<Value = Told> {
    let numbers = || prop::collection::vec(0_u32..30, 1..8);
    let leaf = prop_oneof![numbers().prop_map(Told::Names), Just(Told::All)];
    leaf.prop_recursive(6, 8, 1, move |inner| {
        (inner, numbers(), 0..4).prop_map(|(left, right, operator)| {
            let left = Box::new(left);
            match operator {
                0 => Told::And(left, right),
                1 => Told::Without(left, right),
                2 => Told::Both(left, right),
                _ => Told::Either(left, right),
            }
        })
    })
}

proptest! {
    #[test]
    fn expressions_mean_what_sets_mean(told in told()) {
        let names: Vec<_> = (0..30).map(|number| name(&format!("n{number}"))).collect();
        let n = group("n");
        let selected = NodeSet::parse(&told.text()).unwrap().select(names.iter().map(|name| (name, &n))).unwrap();
        let expected: Vec<_> = (0..30).filter(|number| told.holds(*number)).map(|n| name(&format!("n{n}"))).collect();
        prop_assert_eq!(selected, expected, "{}", told.text());
    }

    #[test]
    fn what_was_folded_unfolds_to_the_same(names in prop::collection::vec(any_name(), 1..60)) {
        let folded = fold(&names);
        let web = group("web");
        let selected = NodeSet::parse(&folded).unwrap().select(names.iter().map(|name| (name, &web))).unwrap();
        let expected: HashSet<&str> = names.iter().map(NodeName::as_str).collect();
        prop_assert_eq!(selected.iter().map(NodeName::as_str).collect::<Vec<_>>(), sorted(expected));
        prop_assert_eq!(fold(&selected), folded);
    }

    #[test]
    fn whatever_is_written_is_taken_or_pointed_at(text in "[ab01 ,@*?:!&^~=/äω\\[\\]()-]{0,30}") {
        match NodeSet::parse(&text) {
            Ok(set) => {
                prop_assert!(set.names().is_none_or(|names| names.len() <= NODE_SET_NAMES_MAX));
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
        let set = NodeSet::parse(&text).unwrap();
        let expected: Vec<_> = (first..=last).map(|number| format!("n{number:0digits$}")).collect();
        prop_assert_eq!(set.names().unwrap(), expected);
    }
}
