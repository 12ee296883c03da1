//! One reader for each kind of key, in the order in which cloud-init does them.

mod accounts;
mod commands;
mod files;
mod packages;
mod passwords;
mod system;
mod users;
mod vendor;

use muster_doc::Tree;

use crate::document::Draft;
use crate::fields::Fields;
use crate::step::Section;

/// The order is that of cloud-init's modules: deferred files come after the packages and before the commands of
/// `runcmd`, which cloud-init writes down early and runs at the end. Reload steps are ours: by then everything that they
/// concern is there.
pub(crate) fn steps(fields: &mut Fields, tree: &Tree) -> Vec<Draft> {
    let (early, deferred) = files::read(fields, tree);
    let mut drafts = commands::read(fields, tree, Section::Boot);
    drafts.extend(early);
    drafts.extend(system::mounts(fields, tree));
    drafts.extend(system::hostname(fields, tree));
    drafts.extend(accounts::read(fields, tree));
    drafts.extend(system::timezone(fields, tree));
    drafts.extend(packages::read(fields, tree));
    drafts.extend(deferred);
    drafts.extend(commands::read(fields, tree, Section::Run));
    drafts.extend(accounts::ssh_reload(&drafts));
    let reloads = vendor::reloads(fields, tree, &drafts);
    drafts.extend(reloads);
    drafts.extend(system::final_message(fields, tree));
    drafts.extend(system::power_state(fields, tree));
    drafts
}

/// Whether a text can stand as a field of passwd, group or fstab.
pub(crate) fn is_field(text: &str) -> bool {
    !text.contains(|c: char| c == ':' || c.is_control())
}
