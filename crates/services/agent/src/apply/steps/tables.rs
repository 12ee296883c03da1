//! `/etc/passwd` and its like: one entry a line, fields between colons. Read and written here because the program is
//! linked statically and may not use the C library's own look-ups.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use super::files::{Ids, write};
use super::{Machine, StepError};

/// One file; lines that are not understood stay as they are.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    rows: Vec<Vec<String>>,
    changed: bool,
    /// Whether the file is there.
    exists: bool,
    mode: u32,
}

impl Table {
    pub(super) fn load(machine: &Machine, path: &str, mode: u32) -> Result<Self, StepError> {
        let path = super::files::resolve(machine, path)?;
        let found = super::files::read(&path)?;
        let (text, exists) = (String::from_utf8_lossy(found.as_deref().unwrap_or_default()), found.is_some());
        let rows = text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect();
        Ok(Self { path, rows, changed: false, exists, mode })
    }

    pub(super) fn exists(&self) -> bool {
        self.exists
    }

    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    pub(super) fn row(&self, name: &str) -> Option<&[String]> {
        self.rows.iter().find(|row| row[0] == name).map(Vec::as_slice)
    }

    pub(super) fn field(&self, name: &str, index: usize) -> Option<&str> {
        self.row(name)?.get(index).map(String::as_str)
    }

    /// Sets a field of an entry that is there.
    pub(super) fn set(&mut self, name: &str, index: usize, value: &str) {
        let Some(row) = self.rows.iter_mut().find(|row| row[0] == name) else { return };
        if row.get(index).is_some_and(|found| found == value) {
            return;
        }
        if row.len() <= index {
            row.resize(index + 1, String::new());
        }
        value.clone_into(&mut row[index]);
        self.changed = true;
    }

    pub(super) fn add(&mut self, fields: &[&str]) {
        self.rows.push(fields.iter().map(|&field| field.to_owned()).collect());
        self.changed = true;
    }

    /// Adds to a field that is a list with commas.
    pub(super) fn add_member(&mut self, name: &str, index: usize, member: &str) {
        let found = self.field(name, index).unwrap_or_default().to_owned();
        if !found.split(',').any(|other| other == member) {
            let list = if found.is_empty() { member.to_owned() } else { format!("{found},{member}") };
            self.set(name, index, &list);
        }
    }

    pub(super) fn numbers(&self) -> BTreeSet<u32> {
        self.rows.iter().filter_map(|row| row.get(2)?.parse().ok()).collect()
    }

    pub(super) fn save(&mut self) -> Result<(), StepError> {
        if !self.changed {
            return Ok(());
        }
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&row.join(":"));
            text.push('\n');
        }
        // A file that is there keeps its owner: shadow belongs to a group of its own on some systems.
        let (mode, ids) = match fs_err::metadata(&self.path) {
            Ok(found) => {
                let ids = Ids { user: Some(found.uid()), group: Some(found.gid()) };
                (found.permissions().mode() & 0o7777, ids)
            }
            Err(_) => (self.mode, Ids::own()),
        };
        write(&self.path, text.as_bytes(), mode, ids)?;
        self.changed = false;
        Ok(())
    }
}

/// Names and their numbers.
#[derive(Debug)]
pub(super) struct Names {
    passwd: Table,
    group: Table,
}

impl Names {
    pub(super) fn load(machine: &Machine) -> Result<Self, StepError> {
        Ok(Self {
            passwd: Table::load(machine, "/etc/passwd", 0o644)?,
            group: Table::load(machine, "/etc/group", 0o644)?,
        })
    }

    /// Of a name, or of a number, which need not be in the file.
    pub(super) fn user_number(&self, user: &str) -> Option<u32> {
        number(&self.passwd, user)
    }

    pub(super) fn group_number(&self, group: &str) -> Option<u32> {
        number(&self.group, group)
    }
}

fn number(table: &Table, name: &str) -> Option<u32> {
    table.field(name, 2).and_then(|number| number.parse().ok()).or_else(|| name.parse().ok())
}
