//! Values that stand in several places of a cluster file.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_doc::read::{Field, Findings, MapReader, int};
use muster_doc::{Diagnostic, Node, Span, Spanned, Tree, codes, suggest};
use muster_types::ByteSize;

use crate::cluster::Context;
use crate::model::{Count, OnFailure, RecipeRef, SizeSpec};

/// Most nodes of a group; more is a slip of the pen.
const COUNT_MAX: u32 = 10_000;

/// An agent, a shell and a little work need this much.
const MEMORY_MIN: ByteSize = ByteSize(16 << 20);

const CPUS_MAX: f64 = 4096.0;

const RETRIES_MAX: i128 = 10;

/// Tags that begin so are the program's own.
const OWN_TAGS: &str = "muster.";

/// `provider: local`, or a list in order of preference. What is not there is passed over if something else is.
pub(crate) fn providers(map: &mut MapReader<'_>, context: &Context<'_>, out: &mut Findings) -> Vec<Spanned<String>> {
    let named: Vec<Spanned<String>> = map.list("provider", true, out);
    let any = named.iter().any(|provider| context.providers.contains(&provider.value.as_str()));
    for provider in named.iter().filter(|provider| !context.providers.contains(&provider.value.as_str())) {
        let message = format!("there is no provider `{}`", provider.value);
        let hint = suggest::hint(&provider.value, context.providers, "provider");
        let found = if any {
            Diagnostic::warning(codes::PROVIDER_UNKNOWN, message, hint)
        } else {
            Diagnostic::error(codes::PROVIDER_UNKNOWN, message, hint)
        };
        out.push(found.at(provider.span, "no such provider"));
    }
    named
}

/// A mapping of anything; an empty one if there is none.
pub(crate) fn vars(map: &mut MapReader<'_>, out: &mut Findings) -> Tree {
    let span = map.span();
    match map.field("vars") {
        Some(field) if field.tree.as_map().is_some() => field.tree.clone(),
        Some(field) if !field.tree.is_null() => {
            field.wrong("a mapping", "write the variables as `name: value` lines below `vars:`", out);
            empty(span)
        }
        _ => empty(span),
    }
}

pub(crate) fn empty(span: Span) -> Tree {
    Tree { node: Node::Map(Vec::new()), span }
}

/// The blocks of providers, by the provider's name.
pub(crate) fn blocks<'t>(map: &mut MapReader<'t>, context: &Context<'t>) -> BTreeMap<String, Tree> {
    let found = context.providers.iter().filter_map(|name| Some(((*name).to_owned(), map.get(name)?.clone())));
    found.collect()
}

/// `3`, `2..10` or `{min: 2, max: 10}`.
pub(crate) fn count(field: &Field<'_>, out: &mut Findings) -> Option<Count> {
    const HINT: &str = "write a number, as in `count: 3`, or a range, as in `count: 2..10`";
    let (min, max) = match &field.tree.node {
        Node::Map(_) => {
            let mut map = MapReader::new(field.tree, "a count", out)?;
            let min: Option<u32> = map.optional("min", out);
            let max: Option<u32> = map.optional("max", out);
            map.finish(out);
            let min = min.unwrap_or(1);
            (min, max.unwrap_or(min))
        }
        Node::Scalar(scalar) => {
            let bounds = match scalar.text.split_once("..") {
                Some((min, max)) => min.trim().parse().ok().zip(max.trim().parse().ok()),
                None => scalar.text.trim().parse().ok().map(|count| (count, count)),
            };
            let Some(bounds) = bounds else {
                let message = format!("`{}` is not a count", scalar.text);
                out.push(Diagnostic::error(codes::COUNT_RANGE, message, HINT).at(field.tree.span, "not a count"));
                return None;
            };
            bounds
        }
        _ => {
            field.wrong("a count", HINT, out);
            return None;
        }
    };
    check_bounds(Count { min, max }, field.tree.span, out)
}

fn check_bounds(count: Count, span: Span, out: &mut Findings) -> Option<Count> {
    let Count { min, max } = count;
    let (message, hint) = if min > max {
        (format!("a count cannot go from {min} down to {max}"), format!("write `{max}..{min}`"))
    } else if max == 0 {
        (
            "a group that can never have a node".to_owned(),
            "remove the group, or allow some, as in `count: 0..3`".to_owned(),
        )
    } else if max > COUNT_MAX {
        (format!("{max} nodes are more than a group may have"), format!("write at most {COUNT_MAX}"))
    } else {
        return Some(count);
    };
    out.push(Diagnostic::error(codes::COUNT_RANGE, message, hint).at(span, "these bounds"));
    None
}

/// `hello` or `slurm/head`.
pub(crate) fn recipe(field: &Field<'_>, out: &mut Findings) -> Option<Spanned<RecipeRef>> {
    const HINT: &str = "write the name of a recipe, as in `hello`, or of a role in one, as in `slurm/head`";
    let scalar = field.scalar("the name of a recipe", HINT, out)?;
    let (name, role) = match scalar.text.split_once('/') {
        Some((name, role)) => (name, Some(role)),
        None => (scalar.text.as_str(), None),
    };
    let fits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fits(name) && role.is_none_or(fits) {
        let value = RecipeRef { name: name.to_owned(), role: role.map(str::to_owned) };
        return Some(Spanned { value, span: field.tree.span });
    }
    let message = format!("`{}` cannot be the name of a recipe", scalar.text);
    out.push(Diagnostic::error(codes::NAME, message, HINT).at(field.tree.span, "not a recipe's name"));
    None
}

/// A provider's own type, or memory and processors.
pub(crate) fn size(field: &Field<'_>, out: &mut Findings) -> SizeSpec {
    if let Node::Scalar(scalar) = &field.tree.node {
        return SizeSpec { name: Some(scalar.text.clone()), ..SizeSpec::default() };
    }
    let Some(mut map) = MapReader::new(field.tree, "a size", out) else { return SizeSpec::default() };
    let name = map.optional("name", out);
    let memory = map.field("memory").and_then(|field| memory(&field, out));
    let cpus = map.optional::<Spanned<f64>>("cpus", out).and_then(|cpus| {
        if cpus.value > 0.0 && cpus.value <= CPUS_MAX {
            return Some(cpus.value);
        }
        let message = format!("{} processors make no sense", cpus.value);
        let hint = "write how many a node may use, as in `cpus: 0.5`";
        out.push(Diagnostic::error(codes::READ_NUMBER, message, hint).at(cpus.span, "out of range"));
        None
    });
    map.finish(out);
    SizeSpec { name, memory, cpus }
}

fn memory(field: &Field<'_>, out: &mut Findings) -> Option<ByteSize> {
    const HINT: &str = "write a number with its unit, as in `memory: 256M` or `memory: 1.5G`";
    let size: ByteSize = field.parsed(codes::READ_SIZE, HINT, out)?;
    if size >= MEMORY_MIN {
        return Some(size);
    }
    let unit = if size.0 < 1024 { " bytes" } else { "" };
    let message = format!("{size}{unit} of memory are too little for a node");
    let hint = format!("write at least {MEMORY_MIN}; a number without a unit is bytes");
    out.push(Diagnostic::error(codes::READ_SIZE, message, hint).at(field.tree.span, "too little"));
    None
}

pub(crate) fn tags(map: &mut MapReader<'_>, out: &mut Findings) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let Some(tree) = map.get("tags").filter(|tree| !tree.is_null()) else { return tags };
    let Some(entries) = tree.as_map() else {
        Field::new("tags", tree).wrong("a mapping", "write the tags as `name: value` lines", out);
        return tags;
    };
    for (key, value) in entries {
        if key.text.starts_with(OWN_TAGS) {
            let message = format!("the tag `{}` is reserved", key.text);
            let hint = format!("choose a name that does not begin with `{OWN_TAGS}`");
            out.push(Diagnostic::error(codes::NAME, message, hint).at(key.span, "reserved"));
        } else if let Some(text) = value.as_str() {
            tags.insert(key.text.clone(), text.to_owned());
        } else {
            Field::new(&key.text, value).wrong("a text", "tags are single values", out);
        }
    }
    tags
}

/// Ports that nodes listen on.
pub(crate) fn ports(map: &mut MapReader<'_>, out: &mut Findings) -> Vec<u16> {
    let Some(field) = map.field("ports").filter(|field| !field.tree.is_null()) else { return Vec::new() };
    field.items(true, out).iter().filter_map(|item| port(item, out)).collect()
}

pub(crate) fn port(field: &Field<'_>, out: &mut Findings) -> Option<u16> {
    const HINT: &str = "write a whole number from 1 to 65535";
    let scalar = field.scalar("a port", HINT, out)?;
    let number = scalar.text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    if number.is_none() {
        let message = format!("`{}` is not a port", scalar.text);
        out.push(Diagnostic::error(codes::PORT, message, HINT).at(field.tree.span, "not a port"));
    }
    number
}

/// A span of time that is not nothing.
pub(crate) fn timeout(map: &mut MapReader<'_>, default: Duration, out: &mut Findings) -> Duration {
    let Some(given) = map.optional::<Spanned<Duration>>("timeout", out) else { return default };
    if given.value.is_zero() {
        let hint = "write how long it may take, as in `timeout: 10m`";
        let found = Diagnostic::error(codes::READ_DURATION, "a timeout of zero lets nothing finish", hint);
        out.push(found.at(given.span, "zero"));
        return default;
    }
    given.value
}

/// `keep`, `replace`, `rollback`, `retry` (once) or `{retry: n}`.
pub(crate) fn on_failure(map: &mut MapReader<'_>, out: &mut Findings) -> Spanned<OnFailure> {
    const HINT: &str = "write `keep`, `{ retry: 3 }`, `replace` or `rollback`";
    let default = Spanned { value: OnFailure::default(), span: map.span() };
    let Some(field) = map.field("on_failure") else { return default };
    let value = match &field.tree.node {
        Node::Map(_) => {
            let Some(mut map) = MapReader::new(field.tree, "a failure policy", out) else { return default };
            let retries = map.field("retry").and_then(|field| int(&field, 1, RETRIES_MAX, out));
            map.finish(out);
            retries.and_then(|retries| u32::try_from(retries).ok()).map(OnFailure::Retry)
        }
        Node::Scalar(scalar) => match scalar.text.as_str() {
            "keep" => Some(OnFailure::Keep),
            "retry" => Some(OnFailure::Retry(1)),
            "replace" => Some(OnFailure::Replace),
            "rollback" => Some(OnFailure::Rollback),
            other => {
                let message = format!("`{other}` is not a failure policy");
                out.push(Diagnostic::error(codes::ON_FAILURE, message, HINT).at(field.tree.span, "not a policy"));
                None
            }
        },
        _ => {
            field.wrong("a failure policy", HINT, out);
            None
        }
    };
    Spanned { value: value.unwrap_or_default(), span: field.tree.span }
}
