//! Cloud-config on real Debian nodes, under systemd and under our own init.

use muster_testkit::{Sandbox, can_make_nodes};

fn sandbox() -> Sandbox {
    Sandbox::new(env!("CARGO_BIN_EXE_muster")).with_images()
}

/// What a shell on the only node prints.
fn shell(place: &Sandbox, script: &str) -> String {
    place.muster(&["exec", "n-1", "--", "sh", "-c", script]).success().stdout
}

/// Every key of docs/cloud-config.md but those of power.
const EVERY_KEY: &str = r#"
      bootcmd: ["echo boot >> /root/log"]
      write_files:
        - {path: /etc/motd, content: "hello\n"}
        - {path: /etc/motd, content: "more\n", append: true}
        - {path: /etc/app/conf, content: "x=1\n", owner: "app:adm", permissions: "0640", defer: true}
        - {path: /etc/b64, content: aGVsbG8K, encoding: b64}
      mount_default_fields: [null, null, auto, "defaults,nofail", "0", "2"]
      mounts: [[tmpfs, /scratch, tmpfs, "size=8M"]]
      hostname: renamed
      fqdn: renamed.example.com
      manage_etc_hosts: true
      timezone: Europe/Budapest
      groups: [plain, {shared: [root]}]
      users:
        - {name: app, uid: 2000, gecos: App, shell: /bin/bash, sudo: "ALL=(ALL) NOPASSWD:ALL", groups: "adm, extra",
           ssh_authorized_keys: [ssh-ed25519 AAAA a@b], expiredate: 2030-12-31, hashed_passwd: "$6$a$b"}
        - {name: svc, system: true, no_create_home: true, homedir: /nonexistent}
      user: {name: me}
      ssh_authorized_keys: [ssh-ed25519 BBBB x@y]
      ssh_pwauth: true
      chpasswd: {expire: false, users: [{name: root, password: rootpw, type: text}]}
      packages: [curl, sudo]
      runcmd: ["sudo -u app sudo -n id -un >> /root/log", [sh, -c, "echo \"$INSTANCE_ID\" >> /root/log"]]
      muster: {reload: [{name: app, files: [/etc/app/conf], command: cat /etc/app/conf >> /root/log}]}
      final_message: "up after $UPTIME"
"#;

fn file(init: &str, config: &str) -> String {
    format!(
        "cluster: deb\ngroups:\n  n:\n    image: debian-12\n    size: {{ memory: 512M, cpus: 1 }}\n    \
         local: {{ init: {init} }}\n    cloud_init:\n{config}"
    )
}

fn every_key_is_done(init: &str) {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    place.write("deb.yaml", &file(init, EVERY_KEY));
    place.muster(&["up", "deb.yaml", "--yes"]).success();
    let seen = |script: &str| shell(&place, script);
    assert_eq!(seen("cat /root/log"), "boot\nroot\nn-1\nx=1\n");
    assert_eq!(seen("cat /etc/motd /etc/b64"), "hello\nmore\nhello\n");
    assert_eq!(seen("stat -c '%U:%G %a' /etc/app/conf"), "app:adm 640\n");
    assert_eq!(seen("findmnt -no FSTYPE,OPTIONS /scratch"), "tmpfs  rw,relatime,size=8192k\n");
    assert_eq!(seen("hostname; cat /etc/hostname"), "renamed\nrenamed\n");
    assert!(seen("cat /etc/hosts").contains("127.0.1.1 renamed.example.com renamed\n"));
    assert_eq!(seen("cat /etc/timezone; date -d 2026-01-01T00:00Z +%H"), "Europe/Budapest\n01\n");
    assert_eq!(
        seen("id -nG app; id -u app; getent passwd app"),
        "app adm extra\n2000\napp:x:2000:2000:App:/home/app:/bin/bash\n"
    );
    assert_eq!(
        seen("getent passwd svc | cut -d: -f6; test ! -e /nonexistent; getent group shared plain | cut -d: -f1,4"),
        "/nonexistent\nshared:root\nplain:\n"
    );
    assert_eq!(
        seen("getent shadow app | cut -d: -f2,8; grep -h BBBB /home/me/.ssh/authorized_keys"),
        "!$6$a$b:22279\nssh-ed25519 BBBB x@y\n"
    );
    assert!(seen("getent shadow root").starts_with("root:$"));
    let sshd = "/usr/lib/muster/ssh-host-keys; mkdir -p /run/sshd; sshd -T | grep ^passwordauthentication";
    assert_eq!(seen(sshd), "passwordauthentication yes\n");
    assert_eq!(
        seen("nproc >/dev/null; cat /proc/1/comm | grep -c systemd || :"),
        if init == "systemd" { "1\n" } else { "0\n" }
    );
    // Nothing to do, then what changed and nothing else.
    place.muster(&["up", "deb.yaml", "--yes"]).success();
    assert_eq!(seen("wc -l < /root/log"), "4\n");
    place.write("deb.yaml", &file(init, &EVERY_KEY.replace("x=1", "x=2")));
    place.muster(&["up", "deb.yaml", "--yes"]).success();
    assert_eq!(seen("tail -n +5 /root/log"), "x=2\n");
    if init == "systemd" {
        assert_eq!(seen("systemctl is-system-running"), "running\n");
    }
    place.muster(&["down", "deb", "--yes"]).success();
}

#[test]
fn every_key_is_done_under_systemd() {
    every_key_is_done("systemd");
}

#[test]
fn every_key_is_done_under_our_own_init() {
    every_key_is_done("agent");
}

#[test]
fn services_are_managed_and_sshd_takes_in_its_settings() {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    let unit = "[Service]\\nExecStart=/bin/sleep infinity\\nExecReload=/bin/sh -c 'echo reloaded >> /run/reloads'\\n\
                [Install]\\nWantedBy=multi-user.target\\n";
    let config = |conf: &str, login: bool| {
        format!(
            "      ssh_pwauth: {login}\n      write_files:\n        - {{path: /etc/systemd/system/app.service, content: \"{unit}\"}}\n        \
             - {{path: /etc/app.conf, content: {conf}}}\n      runcmd:\n        - systemctl daemon-reload\n        \
             - systemctl enable --now app.service\n        - [systemctl, is-active, ssh]\n      \
             muster: {{reload: [{{name: app, files: [/etc/app.conf], command: systemctl reload app}}]}}\n"
        )
    };
    let up = |conf, login| {
        place.write("deb.yaml", &file("systemd", &config(conf, login)));
        place.muster(&["up", "deb.yaml", "--yes"]).success();
    };
    // sshd says with which methods one may log in.
    let methods = "ssh -o LogLevel=ERROR -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null x@127.0.0.1 2>&1 \
                   | grep -o '(.*)'";
    let seen = || shell(&place, &format!("systemctl is-active app; wc -l < /run/reloads; {methods}"));
    up("one", false);
    assert_eq!(seen(), "active\n1\n(publickey)\n");
    up("two", false);
    assert_eq!(seen(), "active\n2\n(publickey)\n");
    up("two", true);
    assert_eq!(seen(), "active\n2\n(publickey,password)\n");
    place.muster(&["down", "deb", "--yes"]).success();
}

#[test]
fn reboots_in_the_middle_and_at_the_end_lose_nothing() {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    let config = "      bootcmd: [echo boot >> /root/log]\n      \
                  write_files: [{path: /run/gone/conf, content: x}]\n      \
                  runcmd: [echo one >> /root/log, systemctl reboot; sleep 1000, echo two >> /root/log]\n      \
                  muster: {reload: [{name: r, files: [/run/gone/conf], command: echo reload >> /root/log}]}\n";
    place.write("deb.yaml", &file("systemd", config));
    place.muster(&["up", "deb.yaml", "--yes"]).success();
    assert_eq!(shell(&place, "cat /root/log /run/gone/conf"), "boot\none\nboot\ntwo\nreload\nx");
    place.muster(&["down", "deb", "--yes"]).success();
}

#[test]
fn a_package_that_is_missing_later_is_told_at_once() {
    if !can_make_nodes() {
        return;
    }
    let place = sandbox();
    place.write("deb.yaml", &file("agent", "      runcmd: ['true']\n"));
    place.muster(&["up", "deb.yaml", "--yes"]).success();
    place.write("deb.yaml", &file("agent", "      packages: [hello]\n      runcmd: ['true']\n"));
    let failed = place.muster(&["up", "deb.yaml", "--yes"]);
    assert_ne!(failed.code, 0, "{failed}");
    assert!(
        failed.stderr.contains("hello cannot be installed: this node cannot reach the package servers"),
        "{failed}"
    );
    assert!(failed.stderr.contains("muster up --replace"), "{failed}");
    place.muster(&["up", "deb.yaml", "--replace", "n-1", "--yes"]).success();
    assert_eq!(shell(&place, "hello -g baked"), "baked\n");
    place.muster(&["down", "deb", "--yes"]).success();
}
