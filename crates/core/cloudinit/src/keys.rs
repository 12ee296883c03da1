//! The keys of a cloud-config: those that are done here, and those that only cloud-init does.

use muster_doc::{Key, Tree};

use crate::fields::Fields;

const DONE: &[&str] = &[
    "apt_update",
    "apt_upgrade",
    "bootcmd",
    "chpasswd",
    "create_hostname_file",
    "final_message",
    "fqdn",
    "groups",
    "hostname",
    "manage_etc_hosts",
    "mount_default_fields",
    "mounts",
    "muster",
    "package_update",
    "package_upgrade",
    "packages",
    "password",
    "power_state",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "runcmd",
    "ssh_authorized_keys",
    "ssh_keys",
    "ssh_pwauth",
    "timezone",
    "user",
    "users",
    "write_files",
];

/// From cloud-init's own schema (cloudinit/config/schemas/schema-cloud-config-v1.json).
const NOT_DONE: &[&str] = &[
    "allow_public_ssh_keys",
    "ansible",
    "apk_repos",
    "apt",
    "apt_pipelining",
    "apt_reboot_if_required",
    "authkey_hash",
    "autoinstall",
    "byobu_by_default",
    "ca-certs",
    "ca_certs",
    "chef",
    "cloud_config_modules",
    "cloud_final_modules",
    "cloud_init_modules",
    "device_aliases",
    "disable_ec2_metadata",
    "disable_root",
    "disable_root_opts",
    "disk_setup",
    "drivers",
    "fan",
    "fs_setup",
    "growpart",
    "grub-dpkg",
    "grub_dpkg",
    "keyboard",
    "landscape",
    "launch-index",
    "locale",
    "locale_configfile",
    "lxd",
    "manage_resolv_conf",
    "mcollective",
    "merge_how",
    "merge_type",
    "migrate",
    "network",
    "no_ssh_fingerprints",
    "ntp",
    "output",
    "package_reboot_if_required",
    "phone_home",
    "puppet",
    "random_seed",
    "reporting",
    "resize_rootfs",
    "resolv_conf",
    "rh_subscription",
    "rpi",
    "rsyslog",
    "salt_minion",
    "snap",
    "spacewalk",
    "ssh",
    "ssh_deletekeys",
    "ssh_fp_console_blacklist",
    "ssh_genkeytypes",
    "ssh_import_id",
    "ssh_key_console_blacklist",
    "ssh_publish_hostkeys",
    "ssh_quiet_keygen",
    "swap",
    "system_info",
    "ubuntu_advantage",
    "ubuntu_pro",
    "updates",
    "vendor_data",
    "version",
    "wireguard",
    "yum_repo_dir",
    "yum_repos",
    "zypper",
];

pub(crate) fn check(fields: &mut Fields, entries: &[(Key, Tree)]) {
    fields.unknown_keys(entries, "a cloud-config", DONE, NOT_DONE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_both_done_and_not() {
        assert!(DONE.is_sorted() && NOT_DONE.is_sorted());
        assert!(DONE.iter().all(|key| !NOT_DONE.contains(key)));
    }
}
