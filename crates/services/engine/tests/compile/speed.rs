//! How long rendering takes where every node lists every other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::common::{compiled, members};

/// Unoptimised code takes a twentieth of this on an idle machine. What the limit must catch is work that
/// grows with the square of what it should, such as parsing templates anew for each node.
const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn a_hundred_nodes_that_list_a_hundred_peers() {
    let compiled = compiled("cluster: demo\ngroups:\n  web: { recipe: hello, count: 100 }\n");
    let members = members(&compiled);
    let nodes = compiled.desired(&BTreeMap::new(), &BTreeMap::new());
    let start = Instant::now();
    let bytes: usize =
        nodes.iter().map(|node| compiled.render(&node.name, &members).expect("it renders").document.len()).sum();
    let took = start.elapsed();
    assert!(bytes > 100 * 100 * "web-1 10.0.0.1".len());
    assert!(took < LIMIT, "rendering took {took:?}");
}
