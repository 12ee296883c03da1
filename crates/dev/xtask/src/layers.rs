//! Which crate may depend on which: `layers.toml` against what cargo says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::workspace::{self, Package};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    layers: BTreeMap<String, Layer>,
    arrows: Vec<Arrow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    folder: PathBuf,
    sees: Vec<String>,
}

/// An arrow that the layers alone would refuse.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrow {
    from: String,
    to: String,
    reason: String,
}

/// Fails with every wrong arrow.
pub(crate) fn check() -> Result<()> {
    let text = fs_err::read_to_string(workspace::root().join("layers.toml"))?;
    let layers: Layers = toml::from_str(&text).context("layers.toml cannot be read")?;
    let complaints = layers.complaints(&workspace::packages()?)?;
    if !complaints.is_empty() {
        bail!(
            "{}\nhint: turn the dependency round, or put the arrow into layers.toml with its reason",
            complaints.join("\n")
        );
    }
    Ok(())
}

impl Layers {
    fn complaints(&self, packages: &[Package]) -> Result<Vec<String>> {
        let mut complaints = self.own_mistakes();
        let mut layer_of = BTreeMap::new();
        for package in packages {
            let folder = package.folder()?;
            match self.layer_of(&folder) {
                Some(layer) => drop(layer_of.insert(package.name.as_str(), layer)),
                None => complaints.push(format!("{} lies in no layer: {}", package.name, folder.display())),
            }
        }
        let mut used = BTreeSet::new();
        for package in packages {
            for dependency in &package.dependencies {
                let (from, to) = (package.name.as_str(), dependency.name.as_str());
                let free = dependency.kind.as_deref() == Some("dev") || dependency.path.is_none() || from == to;
                let (Some(from_layer), Some(to_layer)) = (layer_of.get(from), layer_of.get(to)) else { continue };
                if free || self.layers[*from_layer].sees.iter().any(|seen| seen == *to_layer) {
                    continue;
                }
                if self.arrows.iter().any(|arrow| arrow.from == from && arrow.to == to) {
                    used.insert((from, to));
                } else {
                    complaints.push(format!("{from} ({from_layer}) may not depend on {to} ({to_layer})"));
                }
            }
        }
        let stale = self.arrows.iter().filter(|arrow| !used.contains(&(arrow.from.as_str(), arrow.to.as_str())));
        complaints
            .extend(stale.map(|arrow| format!("the arrow {} → {} of layers.toml is not needed", arrow.from, arrow.to)));
        Ok(complaints)
    }

    /// What is wrong with the file itself.
    fn own_mistakes(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (name, layer) in &self.layers {
            for seen in &layer.sees {
                match self.layers.get(seen) {
                    None => complaints.push(format!("the layer {name} sees {seen}, which is not there")),
                    Some(other) if other.sees.contains(name) => {
                        complaints.push(format!("the layers {name} and {seen} see each other"));
                    }
                    Some(_) => {}
                }
            }
        }
        let no_reason = self.arrows.iter().filter(|arrow| arrow.reason.trim().is_empty());
        complaints.extend(no_reason.map(|arrow| format!("the arrow {} → {} has no reason", arrow.from, arrow.to)));
        complaints
    }

    fn layer_of(&self, folder: &Path) -> Option<&String> {
        let above = self.layers.iter().filter(|(_, layer)| folder.starts_with(&layer.folder));
        above.max_by_key(|(_, layer)| layer.folder.components().count()).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_see_what_they_may() {
        check().unwrap_or_else(|error| panic!("{error}"));
    }

    fn package(name: &str, folder: &str, sees: &[(&str, Option<&str>)]) -> Package {
        let dependency = |&(name, kind): &(&str, Option<&str>)| workspace::Dependency {
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            path: Some(PathBuf::from("/somewhere")),
        };
        Package {
            name: name.to_owned(),
            manifest_path: workspace::root().join(folder).join("Cargo.toml"),
            dependencies: sees.iter().map(dependency).collect(),
        }
    }

    fn complaints(text: &str, packages: &[Package]) -> Vec<String> {
        toml::from_str::<Layers>(text).unwrap().complaints(packages).unwrap()
    }

    const THREE: &str = r#"
        arrows = []
        [layers]
        low = { folder = "low", sees = [] }
        high = { folder = "high", sees = ["low"] }
        inner = { folder = "high/inner", sees = [] }
    "#;

    #[test]
    fn arrows_go_down_only() {
        let low = || package("a", "low/a", &[]);
        assert!(complaints(THREE, &[low(), package("b", "high/b", &[("a", None)])]).is_empty());
        let up = complaints(THREE, &[package("a", "low/a", &[("b", None)]), package("b", "high/b", &[])]);
        assert_eq!(up, ["a (low) may not depend on b (high)"]);
        let sideways = complaints(THREE, &[low(), package("c", "low/c", &[("a", Some("build"))])]);
        assert_eq!(sideways, ["c (low) may not depend on a (low)"]);
        let inner = complaints(THREE, &[low(), package("d", "high/inner/d", &[("a", None)])]);
        assert_eq!(inner, ["d (inner) may not depend on a (low)"]);
    }

    #[test]
    fn dev_dependencies_are_free_and_strangers_are_named() {
        let tests = package("a", "low/a", &[("b", Some("dev"))]);
        assert!(complaints(THREE, &[tests, package("b", "high/b", &[])]).is_empty());
        assert_eq!(complaints(THREE, &[package("e", "else/e", &[])]), ["e lies in no layer: else/e"]);
    }

    #[test]
    fn an_arrow_needs_a_reason_and_a_use() {
        let with = |reason| {
            THREE.replace(
                "[]\n        [layers]",
                &format!("[{{ from = \"a\", to = \"b\", reason = \"{reason}\" }}]\n[layers]"),
            )
        };
        let wrong = || [package("a", "low/a", &[("b", None)]), package("b", "high/b", &[])];
        assert!(complaints(&with("since"), &wrong()).is_empty());
        assert_eq!(complaints(&with(" "), &wrong()), ["the arrow a → b has no reason"]);
        let right = [package("a", "low/a", &[]), package("b", "high/b", &[])];
        assert_eq!(complaints(&with("since"), &right), ["the arrow a → b of layers.toml is not needed"]);
    }
}
