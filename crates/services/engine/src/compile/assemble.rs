//! The way from a text to a `Compiled`, finding as many mistakes as one pass can.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use muster_doc::template::Templates;
use muster_doc::{Diagnostic, SourceMap, Span, Spanned, Tree, codes, suggest};
use muster_pki::Secrets;
use muster_provider::Factory;
use muster_spec::{ClusterSpec, Context, GroupSpec};
use muster_store::Reading;
use muster_types::GroupName;

use super::choose::{Choice, choose};
use super::group::{Bench, Group};
use super::load::Loader;
use super::statics::Statics;
use super::{Compiled, NodeDefinitions, Options, Rejected, Source, functions, occopus, secrets};

/// Reads a cluster file with the recipes and files that it refers to, or an infrastructure description of Occopus with its
/// node definitions.
pub fn compile(source: Source, options: &Options<'_>) -> Result<Compiled, Rejected> {
    if occopus::is_infrastructure(&source) {
        return occopus::compile(&source, options);
    }
    let mut sources = SourceMap::default();
    let (tree, mut diagnostics) = muster_doc::parse_bytes(&mut sources, &source.path, &source.text);
    let Some(tree) = tree else { return Err(Rejected { sources, diagnostics }) };
    let mut templates = Templates::new(functions::configure);
    let tree = Statics { templates: &mut templates, sources: &sources, diagnostics: &mut diagnostics }.render(&tree);
    let known = known(options);
    let (spec, mut found) = muster_spec::read(&tree, &Context { providers: &known });
    diagnostics.append(&mut found);
    let wanted = wanted(options, &known, &mut diagnostics);
    let Some(mut spec) = spec else { return Err(rejected(sources, diagnostics)) };
    let reading = reading(options);
    check_blocks(&spec.blocks, options, &mut diagnostics);
    let mut loader = Loader::new(&source.folder);
    let mut groups = BTreeMap::new();
    for group in &spec.groups {
        diagnostics.extend(unsupported(group));
        let choice = chosen_image(choose(&spec, group, wanted, &known, &mut diagnostics), options);
        diagnostics.extend(unknown_image(group, &choice, options));
        diagnostics.extend(without_agent(group, &choice, options));
        let mut bench = Bench {
            spec: &spec,
            loader: &mut loader,
            templates: &mut templates,
            sources: &mut sources,
            diagnostics: &mut diagnostics,
        };
        let ready = bench.group(group, choice);
        check_settings(&ready, options, &mut diagnostics);
        groups.insert(group.name.clone(), ready);
    }
    diagnostics.extend(role_needs(&mut spec, &groups));
    diagnostics.extend(unused_vars(&spec, &groups));
    let wanted_secrets = loader.loaded().flat_map(secrets::wanted).collect();
    let compiled = Compiled {
        spec,
        sources,
        warnings: Vec::new(),
        path: source.path,
        templates,
        groups,
        wanted_secrets,
        secrets: Secrets::default(),
        reading,
        occopus: None,
    };
    finish(compiled, diagnostics)
}

/// What `options` say that is not in the file.
pub(super) fn reading(options: &Options<'_>) -> Reading {
    let definitions = match options.occopus.definitions {
        NodeDefinitions::File(path) => Some(path.display().to_string()),
        NodeDefinitions::Beside { .. } | NodeDefinitions::Given(_) => None,
    };
    Reading { definitions, image: options.image.map(str::to_owned) }
}

pub(super) fn chosen_image(choice: Choice, options: &Options<'_>) -> Choice {
    let image = options.image.map(str::to_owned).or(choice.image);
    Choice { image, ..choice }
}

/// Tries out what was put together.
pub(super) fn finish(mut compiled: Compiled, mut diagnostics: Vec<Diagnostic>) -> Result<Compiled, Rejected> {
    diagnostics.extend(compiled.try_out());
    diagnostics.extend(compiled.circles());
    let diagnostics = tidy(diagnostics);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Rejected { sources: compiled.sources, diagnostics });
    }
    compiled.warnings = diagnostics;
    Ok(compiled)
}

/// Variables of the whole file that no recipe knows, where nothing but recipes looks at any.
fn unused_vars(spec: &ClusterSpec, groups: &BTreeMap<GroupName, Group>) -> Vec<Diagnostic> {
    let known: Option<Vec<_>> = groups.values().map(|group| group.known_vars.as_ref()).collect();
    let known: BTreeSet<&str> = known.into_iter().flatten().flatten().map(String::as_str).collect();
    let entries = spec.vars.as_map().unwrap_or_default().iter();
    let unused = entries.filter(|(key, _)| !known.is_empty() && !known.contains(key.text.as_str()));
    let names: Vec<&str> = known.iter().copied().collect();
    let found = unused.map(|(key, _)| {
        let message = format!("no recipe of the file knows the variable `{}`", key.text);
        let hint = suggest::hint(&key.text, &names, "variable");
        Diagnostic::warning(codes::RECIPE_VAR_UNKNOWN, message, hint).at(key.span, "nobody looks at it")
    });
    found.collect()
}

/// Adds the groups of the roles that recipes need to the groups' own needs, and looks for circles again.
fn role_needs(spec: &mut ClusterSpec, groups: &BTreeMap<GroupName, Group>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let known = spec.groups.clone();
    for group in &mut spec.groups {
        let Some(reference) = &group.recipe else { continue };
        let recipe = &reference.value.name;
        for role in groups.get(&group.name).map_or(&[][..], |group| &group.needs) {
            let of_role = |other: &&GroupSpec| {
                let of = other.recipe.as_ref().map(|reference| &reference.value);
                of.is_some_and(|of| of.name == *recipe && of.role.as_ref() == Some(role))
            };
            let mut needed = known.iter().filter(of_role).map(|other| other.name.clone()).peekable();
            if needed.peek().is_none() {
                let message =
                    format!("`{}` needs a group with the role `{recipe}/{role}`, and there is none", group.name);
                let hint = format!("add one, as in `{role}: {{ recipe: {recipe}/{role} }}`");
                let missing = Diagnostic::error(codes::RECIPE_ROLE_MISSING, message, hint);
                found.push(missing.at(reference.span, "its recipe needs it"));
            }
            for value in needed {
                if !group.needs.iter().any(|need| need.value == value) {
                    group.needs.push(Spanned { value, span: reference.span });
                }
            }
        }
    }
    found.extend(muster_spec::check_needs(&spec.groups));
    found
}

pub(super) fn rejected(sources: SourceMap, diagnostics: Vec<Diagnostic>) -> Rejected {
    Rejected { sources, diagnostics: tidy(diagnostics) }
}

/// In the order of the text, each once: what is wrong for one node of a group is wrong for the others too.
fn tidy(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut seen: HashSet<(&'static str, Option<Span>, String)> = HashSet::new();
    diagnostics.retain(|found| seen.insert((found.code, found.span, found.message.clone())));
    diagnostics.sort_by_key(|found| found.span.map(|span| (span.source, span.start)));
    diagnostics
}

pub(super) fn known<'a>(options: &Options<'a>) -> Vec<&'a str> {
    options.factories.iter().map(|factory| factory.name()).collect()
}

pub(super) fn wanted<'a>(options: &Options<'a>, known: &[&str], out: &mut Vec<Diagnostic>) -> Option<&'a str> {
    let wanted = options.provider?;
    if known.contains(&wanted) {
        return Some(wanted);
    }
    let message = format!("there is no provider `{wanted}`");
    out.push(Diagnostic::error(codes::PROVIDER_UNKNOWN, message, suggest::hint(wanted, known, "provider")));
    None
}

fn factory<'a>(options: &Options<'a>, name: &str) -> Option<&'a dyn Factory> {
    options.factories.iter().find(|factory| factory.name() == name).map(AsRef::as_ref)
}

fn check_blocks(blocks: &BTreeMap<String, Tree>, options: &Options<'_>, out: &mut Vec<Diagnostic>) {
    for (name, block) in blocks {
        let block = Some(block).filter(|block| !block.is_null());
        out.extend(factory(options, name).map(|factory| factory.check(block)).unwrap_or_default());
    }
}

/// Machines that exist are checked one by one, since what is known of each is part of its settings.
fn check_settings(group: &Group, options: &Options<'_>, out: &mut Vec<Diagnostic>) {
    let Some(factory) = factory(options, &group.choice(1).provider) else { return };
    for index in 1..=group.distinct() {
        out.extend(factory.check(group.settings(index).as_ref()));
    }
}

pub(super) fn unknown_image(group: &GroupSpec, choice: &Choice, options: &Options<'_>) -> Option<Diagnostic> {
    let image = choice.image.as_deref()?;
    let images = factory(options, &choice.provider)?.images()?;
    if images.contains(&image) {
        return None;
    }
    let message = format!("the provider `{}` has no image `{image}`, which `{}` asks for", choice.provider, group.name);
    let hint = suggest::hint(image, images, "image");
    Some(Diagnostic::error(codes::IMAGE_UNKNOWN, message, hint).at(group.span, "this group"))
}

/// Machines of every provider that is here are configured by their agent.
pub(super) fn without_agent(group: &GroupSpec, choice: &Choice, options: &Options<'_>) -> Option<Diagnostic> {
    let said = group.agent.as_ref();
    if options.agent.or(said.map(|said| said.value)).unwrap_or(true) {
        return None;
    }
    let message =
        format!("`{}` is to have no agent, and `{}` makes no nodes without one yet", group.name, choice.provider);
    let hint =
        "leave it as it is: the agent carries out the cloud-config, looks at the checks and obeys nobody but you";
    Some(Diagnostic::error(codes::UNSUPPORTED, message, hint).at(said.map_or(group.span, |said| said.span), "no agent"))
}

/// What the model holds and nothing carries out yet.
fn unsupported(group: &GroupSpec) -> Vec<Diagnostic> {
    let keys = [("publish", &group.publish), ("mounts", &group.mounts)];
    let keys = keys.into_iter().filter_map(|(key, tree)| {
        let message = format!("`{key}` of `{}` is not carried out yet", group.name);
        let hint = "remove it; what a node mounts can stand under `mounts` of its `cloud_init`";
        Some(Diagnostic::error(codes::UNSUPPORTED, message, hint).at(tree.as_ref()?.span, "not carried out"))
    });
    keys.collect()
}
