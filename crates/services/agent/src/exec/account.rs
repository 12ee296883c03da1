//! Users of the node, read from its files: the program is linked statically, and the C library's own look-ups would load
//! modules of whatever library the image has.

use std::path::{Path, PathBuf};

use muster_sys::session::UserIds;

const FOLDER: &str = "/etc";
const SHELL: &str = "/bin/sh";
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// As many supplementary groups as the kernel takes.
const GROUPS_MAX: usize = 65536;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) ids: UserIds,
    pub(crate) home: PathBuf,
    pub(crate) shell: String,
}

impl Account {
    /// The user of this name or number; `None` when `/etc/passwd` has none.
    pub(crate) fn find(user: &str) -> Option<Self> {
        Self::find_in(Path::new(FOLDER), user)
    }

    /// The user that this process runs as, also where no file knows it.
    pub(crate) fn own() -> Self {
        let uid = nix::unistd::geteuid();
        Self::find(&uid.to_string()).unwrap_or_else(|| Self {
            name: if uid.is_root() { "root".to_owned() } else { uid.to_string() },
            ids: UserIds { uid: uid.as_raw(), gid: nix::unistd::getegid().as_raw(), groups: Vec::new() },
            home: PathBuf::from(if uid.is_root() { "/root" } else { "/" }),
            shell: SHELL.to_owned(),
        })
    }

    fn find_in(folder: &Path, user: &str) -> Option<Self> {
        let lines = read(&folder.join("passwd"));
        let accounts = || lines.lines().filter_map(Self::parse);
        let number = user.parse::<u32>().ok();
        // A name made of digits is a name first.
        let found = accounts().find(|account| account.name == user);
        let mut account = found.or_else(|| accounts().find(|account| Some(account.ids.uid) == number))?;
        account.ids.groups = groups_in(folder, &account);
        Some(account)
    }

    /// `name:password:uid:gid:comment:home:shell`.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
        Some(Self {
            name: name.to_owned(),
            ids: UserIds { uid: uid.parse().ok()?, gid: gid.parse().ok()?, groups: Vec::new() },
            home: PathBuf::from(if home.is_empty() { "/" } else { home }),
            shell: if shell.is_empty() { SHELL.to_owned() } else { shell.to_owned() },
        })
    }

    /// The environment of a login, without a terminal's part.
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("PATH", SEARCH_PATH.to_owned()),
            ("HOME", self.home.to_string_lossy().into_owned()),
            ("USER", self.name.clone()),
            ("LOGNAME", self.name.clone()),
            ("SHELL", self.shell.clone()),
        ]
    }

    /// Whom to become; `None` when this process is that user and may not become anybody.
    pub(crate) fn to_become(&self) -> Option<UserIds> {
        let own = nix::unistd::geteuid();
        let stays = !own.is_root() && own.as_raw() == self.ids.uid;
        (!stays).then(|| self.ids.clone())
    }
}

/// The primary group, and each that lists the user: `name:password:gid:member,member`.
fn groups_in(folder: &Path, account: &Account) -> Vec<u32> {
    let mut groups = vec![account.ids.gid];
    for line in read(&folder.join("group")).lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields[..] else { continue };
        let Ok(gid) = gid.parse() else { continue };
        let listed = members.split(',').any(|member| member.trim() == account.name);
        if listed && !groups.contains(&gid) && groups.len() < GROUPS_MAX {
            groups.push(gid);
        }
    }
    groups
}

/// A node without the file has no users of that kind.
fn read(path: &Path) -> String {
    fs_err::read(path).map(|content| String::from_utf8_lossy(&content).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/bash\n# comment\nbroken:x\n7:x:1007:1007::/home/seven:\n\
                      ana:x:1000:100:Ana,,,:/home/ana:/bin/zsh\nbad:x:-1:0::/:/bin/sh\nbare:x:7:7:::\n";
        let group = "root:x:0:\nusers:x:100:ana\nsudo:x:27:bo,ana\ndup:x:27:ana\ndocker:x:998: ana\nbo:x:5:bo\nbad:x\n";
        fs_err::write(folder.path().join("passwd"), passwd).unwrap();
        fs_err::write(folder.path().join("group"), group).unwrap();
        folder
    }

    #[test]
    fn a_user_has_all_groups_that_list_it() {
        let folder = folder();
        let ana = Account::find_in(folder.path(), "ana").unwrap();
        assert_eq!(ana.ids, UserIds { uid: 1000, gid: 100, groups: vec![100, 27, 998] });
        assert_eq!((ana.home.to_str(), ana.shell.as_str()), (Some("/home/ana"), "/bin/zsh"));
        assert_eq!(Account::find_in(folder.path(), "1000"), Some(ana));
    }

    #[test]
    fn a_name_of_digits_is_a_name_first_and_empty_fields_have_defaults() {
        let folder = folder();
        let seven = Account::find_in(folder.path(), "7").unwrap();
        assert_eq!((seven.ids.uid, seven.shell.as_str()), (1007, "/bin/sh"));
        let bare = Account::find_in(folder.path(), "bare").unwrap();
        assert_eq!((bare.home.to_str(), bare.shell.as_str()), (Some("/"), "/bin/sh"));
    }

    #[test]
    fn unknown_and_broken_lines_are_nobody() {
        let folder = folder();
        for user in ["nobody-here", "broken", "bad", "", "4294967295", "# comment"] {
            assert_eq!(Account::find_in(folder.path(), user), None, "{user}");
        }
        assert_eq!(Account::find_in(Path::new("/no/such/folder"), "root"), None);
    }
}
