//! What is in images, and who may remove them.

use muster_testkit::can_make_nodes;

use crate::repository::{Package, Repository};
use crate::{base, build, listed, run, sandbox};

/// Changes what the base has in every way that a layer must remember.
const CHANGES: &str = "set -e\n\
    rm -r /usr/share/doc/adduser\n\
    rm -r /etc/skel\nmkdir /etc/skel\necho new > /etc/skel/new\n\
    rm /etc/issue.net\n\
    ln /usr/lib/muster-tests/muster-changes /usr/lib/muster-tests/twin\n\
    cp /bin/true /usr/lib/muster-tests/able\nsetcap cap_net_raw+ep /usr/lib/muster-tests/able\n\
    useradd --system muster-tester\ninstall -o muster-tester -m 0640 /dev/null /etc/owned\n\
    invoke-rc.d ssh restart\n\
    test -c /dev/null\ntest -d /proc/self\n";

const FILE: &str = "cluster: layered\ngroups:\n  a:\n    image: debian-12\n    local: { init: agent }\n    \
                    cloud_init: { packages: [muster-changes] }\n";

#[test]
fn a_layer_holds_all_that_its_packages_changed() {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    base(&place);
    let repository = Repository::new();
    repository.add("muster-changes", &Package { script: CHANGES, ..Package::default() });
    let file = place.write("cluster.yaml", FILE);
    let built = run(build(&place, &repository, &["-f", file.to_str().unwrap(), "--json"])).success().json();
    let id = built["images"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(built["images"][0]["packages"][0], "muster-changes", "{built}");

    // The same again is there already, with another order of words and no server.
    let again = place.muster(&["image", "build", "debian-12", "--with", "muster-changes", "--json"]).success();
    assert_eq!(again.json()["images"][0]["id"], id.as_str(), "{again}");

    place.muster(&["up", "cluster.yaml", "--yes"]).success();
    let check = "ls -d /usr/share/doc/adduser /etc/issue.net /etc/skel/.bashrc /usr/sbin/policy-rc.d 2>&1 | grep -c 'No such'; \
                 cat /etc/skel/new; stat -c %h /usr/lib/muster-tests/twin; getcap /usr/lib/muster-tests/able; \
                 stat -c '%U %a' /etc/owned; dpkg -s muster-changes | grep ^Status; cat /etc/resolv.conf; \
                 ls /etc/ssh/ssh_host_* /etc/cloud 2>/dev/null; wc -c < /etc/machine-id; ls /var/lib/apt/lists | wc -l";
    let output = place.muster(&["exec", "a-1", "--", "sh", "-c", check]).success();
    let expected =
        "4\nnew\n2\n/usr/lib/muster-tests/able cap_net_raw=ep\nmuster-tester 640\nStatus: install ok installed\n0\n0\n";
    assert_eq!(output.stdout, expected, "{output}");

    let image = listed(&place, &id).unwrap();
    assert_eq!(image["used_by"], serde_json::json!(["layered:a-1"]));
    let refused = place.muster(&["image", "rm", &id]).exits(1);
    assert!(refused.stderr.contains("is needed by layered:a-1"), "{refused}");
    place.muster(&["down", "layered", "--yes"]).success();
    place.muster(&["image", "rm", &id[..8]]).success();
    assert_eq!(listed(&place, &id), None);
}

#[test]
fn nothing_is_made_for_the_machine_s_own_programs() {
    let place = sandbox();
    let file = place.write("cluster.yaml", "cluster: x\ngroups:\n  a: { count: 1 }\n");
    let output = place.muster(&["image", "build", "-f", file.to_str().unwrap()]).success();
    assert!(output.stderr.contains("nothing to make"), "{output}");
    let unknown = place.muster(&["image", "build", "debian-99"]).exits(1);
    assert!(unknown.stderr.contains("images of the local provider: host, debian-12"), "{unknown}");
    place.muster(&["image", "rm", "zzzz"]).exits(64);
}
