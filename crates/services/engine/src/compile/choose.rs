//! Which provider and which variant a group is made with.

use std::collections::BTreeMap;

use muster_doc::{Diagnostic, Spanned, Tree, codes, suggest};
use muster_spec::{CloudInit, ClusterSpec, DEFAULT_PROVIDER, GroupSpec, Population, SizeSpec, Variant};

/// What makes machines that exist available.
const HOSTS_PROVIDER: &str = "ssh";

/// How the nodes of a group are made, the variant's word laid over the group's.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) provider: String,
    pub(super) image: Option<String>,
    pub(super) size: SizeSpec,
    pub(super) settings: Option<Tree>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) cloud_init: Vec<CloudInit>,
    pub(super) health: Vec<Tree>,
}

/// Chooses for one group. What is wrong is noted, and a choice is there all the same, so that the rest of the group can be
/// looked at.
pub(super) fn choose(
    spec: &ClusterSpec,
    group: &GroupSpec,
    wanted: Option<&str>,
    known: &[&str],
    out: &mut Vec<Diagnostic>,
) -> Choice {
    let variant = variant(group, wanted, known).unwrap_or_else(|found| {
        out.extend(found);
        None
    });
    let provider = wanted.map(str::to_owned).or_else(|| own_provider(variant)).unwrap_or_else(|| {
        listed(spec, group, known).unwrap_or_else(|found| {
            out.push(found);
            String::new()
        })
    });
    choice(group, variant, provider)
}

/// The choice of one variant, whichever else there are.
pub(super) fn of_variant(group: &GroupSpec, variant: &Variant, provider: &str) -> Choice {
    choice(group, Some(variant), provider.to_owned())
}

fn choice(group: &GroupSpec, variant: Option<&Variant>, provider: String) -> Choice {
    let block = group.blocks.get(&provider);
    let own = variant.and_then(|variant| variant.blocks.get(&provider));
    let settings = match (block, own) {
        (Some(block), Some(own)) => Some(block.merged(own)),
        (block, own) => own.or(block).cloned(),
    };
    let mut tags = group.tags.clone();
    tags.extend(variant.into_iter().flat_map(|variant| variant.tags.clone()));
    let size = variant.map_or_else(SizeSpec::default, |variant| variant.size.clone());
    let cloud_init = [group.cloud_init.clone(), variant.and_then(|variant| variant.cloud_init.clone())];
    let health = [group.health.clone(), variant.and_then(|variant| variant.health.clone())];
    Choice {
        settings: settings.filter(|block| !block.is_null()),
        image: variant.and_then(|variant| variant.image.clone()).or_else(|| group.image.clone()),
        size: if size.is_empty() { group.size.clone() } else { size },
        tags,
        cloud_init: cloud_init.into_iter().flatten().collect(),
        health: health.into_iter().flatten().collect(),
        provider,
    }
}

fn own_provider(variant: Option<&Variant>) -> Option<String> {
    variant?.provider.as_ref().map(|provider| provider.value.clone())
}

/// The first variant that passes the filter and can be made here. A group without variants is made as it says itself.
fn variant<'g>(
    group: &'g GroupSpec,
    wanted: Option<&str>,
    known: &[&str],
) -> Result<Option<&'g Variant>, Option<Diagnostic>> {
    if group.variants.is_empty() {
        return Ok(None);
    }
    let fits = |variant: &&Variant| match (&variant.provider, wanted) {
        (Some(provider), Some(wanted)) => provider.value == wanted,
        (Some(provider), None) => known.contains(&provider.value.as_str()),
        (None, _) => true,
    };
    if let Some(variant) = group.candidates().find(fits) {
        return Ok(Some(variant));
    }
    if group.candidates().next().is_none() {
        // The filter passes none of them, which was said when the group was read.
        return Err(None);
    }
    let with = wanted.map_or_else(String::new, |wanted| format!(" with the provider `{wanted}`"));
    let message = format!("no variant of `{}` can be made{with}", group.name);
    let hint = format!("add a variant for one of the providers that are here: {}", known.join(", "));
    Err(Some(Diagnostic::error(codes::VARIANT_NONE, message, hint).at(group.span, "this group")))
}

/// The first provider of the group's list, else of the cluster's, that is here.
fn listed(spec: &ClusterSpec, group: &GroupSpec, known: &[&str]) -> Result<String, Diagnostic> {
    let list: &[Spanned<String>] = if group.providers.is_empty() { &spec.providers } else { &group.providers };
    if let Some(found) = list.iter().find(|provider| known.contains(&provider.value.as_str())) {
        return Ok(found.value.clone());
    }
    let default = match group.population {
        Population::Hosts(_) => HOSTS_PROVIDER,
        Population::Count(_) => DEFAULT_PROVIDER,
    };
    match list.first() {
        None if known.contains(&default) => Ok(default.to_owned()),
        None => {
            let message = format!("`{}` needs the provider `{default}`, which is not here", group.name);
            let hint = match group.population {
                Population::Hosts(_) => {
                    "give the group a `count` in place of `hosts`, to have machines made".to_owned()
                }
                Population::Count(_) => format!("name one of the providers that are here: {}", known.join(", ")),
            };
            Err(Diagnostic::error(codes::PROVIDER_UNKNOWN, message, hint).at(group.span, "this group"))
        }
        Some(first) => {
            let message = format!("there is no provider `{}`", first.value);
            let hint = suggest::hint(&first.value, known, "provider");
            Err(Diagnostic::error(codes::PROVIDER_UNKNOWN, message, hint).at(first.span, "no such provider"))
        }
    }
}
