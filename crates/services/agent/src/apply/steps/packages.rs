//! Packages, by dpkg's own record and apt.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};
use std::process::Command;

use muster_cloudinit::{Package, Packages};
use nix::unistd::{AccessFlags, access};

use super::{Applied, Context, Machine, StepError};
use crate::apply::tool;

const STATUS: &str = "/var/lib/dpkg/status";

/// Read from dpkg's file: nothing is started for it. Names that other packages provide count as installed.
pub(super) fn missing<'a>(machine: &Machine, packages: &'a Packages) -> Result<Vec<&'a Package>, StepError> {
    let mut wanted: BTreeMap<&str, Option<String>> =
        packages.packages.iter().map(|package| (bare_name(&package.name), None)).collect();
    let path = machine.inside(STATUS);
    match fs_err::File::open(&path) {
        Ok(file) => read_status(file, &mut wanted).map_err(StepError::read(&path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StepError::read(&path)(error)),
    }
    let lacks = |package: &&Package| match (&wanted[bare_name(&package.name)], &package.version) {
        (None, _) => true,
        (Some(found), Some(version)) => found != version,
        (Some(_), None) => false,
    };
    Ok(packages.packages.iter().filter(lacks).collect())
}

/// `libc6:amd64` and `nginx/bookworm` name a package and more.
fn bare_name(name: &str) -> &str {
    name.split([':', '/']).next().unwrap_or(name)
}

/// Sets the versions of the wanted packages that are installed.
fn read_status(file: fs_err::File, wanted: &mut BTreeMap<&str, Option<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut entry = Entry::default();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            std::mem::take(&mut entry).settle(wanted);
            if count == 0 {
                return Ok(());
            }
            continue;
        }
        match text.split_once(": ") {
            Some(("Package", name)) => name.clone_into(&mut entry.name),
            Some(("Version", version)) => version.clone_into(&mut entry.version),
            Some(("Status", status)) => entry.installed = status.ends_with(" installed"),
            Some(("Provides", names)) => names.clone_into(&mut entry.provides),
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    name: String,
    version: String,
    provides: String,
    installed: bool,
}

impl Entry {
    fn settle(self, wanted: &mut BTreeMap<&str, Option<String>>) {
        if !self.installed {
            return;
        }
        for provided in self.provides.split(',').filter_map(|part| part.split_whitespace().next()) {
            if let Some(version) = wanted.get_mut(provided).filter(|version| version.is_none()) {
                *version = Some(self.version.clone());
            }
        }
        if let Some(version) = wanted.get_mut(self.name.as_str()) {
            *version = Some(self.version);
        }
    }
}

pub(super) async fn install(packages: &Packages, context: &mut Context<'_>) -> Result<Applied, StepError> {
    let missing = missing(context.machine, packages)?;
    if missing.is_empty() {
        return Ok(Applied::default());
    }
    let names: Vec<String> = missing
        .iter()
        .map(|package| match &package.version {
            Some(version) => format!("{}={version}", package.name),
            None => package.name.clone(),
        })
        .collect();
    let listed = names.join(", ");
    if access(&context.machine.inside("/usr"), AccessFlags::W_OK) == Err(nix::errno::Errno::EROFS) {
        return Err(StepError::UsrReadOnly { packages: listed });
    }
    apt(context, &listed, &["update"]).await?;
    let mut arguments = vec!["install"];
    arguments.extend(names.iter().map(String::as_str));
    apt(context, &listed, &arguments).await?;
    Ok(Applied::changed(true))
}

pub(super) async fn update(context: &mut Context<'_>) -> Result<Applied, StepError> {
    apt(context, "package lists", &["update"]).await.map(|()| Applied::changed(true))
}

pub(super) async fn upgrade(context: &mut Context<'_>) -> Result<Applied, StepError> {
    apt(context, "upgrades", &["update"]).await?;
    apt(context, "upgrades", &["dist-upgrade"]).await.map(|()| Applied::changed(true))
}

async fn apt(context: &mut Context<'_>, what: &str, arguments: &[&str]) -> Result<(), StepError> {
    let machine = context.machine;
    let Some(program) = machine.find("apt-get") else {
        return Err(StepError::NoApt { packages: what.to_owned() });
    };
    let mut command: Command = tool::command(
        &program,
        &[
            "--option=Dpkg::Options::=--force-confold",
            "--option=Dpkg::Options::=--force-confdef",
            "--assume-yes",
            "--quiet",
        ],
    );
    command.env("DEBIAN_FRONTEND", "noninteractive").env("APT_LISTCHANGES_FRONTEND", "none").args(arguments);
    match tool::run(context.log, command).await? {
        0 => Ok(()),
        code => Err(StepError::Exit { program: format!("apt-get {}", arguments[0]), code }),
    }
}
