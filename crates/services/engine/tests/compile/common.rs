//! A provider that can be named, and short ways to compile a text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use muster_doc::read::{Findings, MapReader};
use muster_doc::{Diagnostic, Tree};
use muster_engine::compile::{Compiled, Members, Occopus, Options, Rejected, RenderFault, Rendered, Source, compile};
use muster_provider::{Factory, OpenContext, Provider, ProviderError};
use muster_types::NodeName;

/// Named like the provider that every file uses by default; it reads a block with one key.
pub(crate) struct Named(pub(crate) &'static str);

#[async_trait]
impl Factory for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn check(&self, block: Option<&Tree>) -> Vec<Diagnostic> {
        let mut out = Findings::default();
        if let Some(mut map) = block.and_then(|block| MapReader::new(block, "the provider's block", &mut out)) {
            let _: Option<String> = map.optional("subnet", &mut out);
            let _: Option<Tree> = map.optional("host", &mut out);
            map.finish(&mut out);
        }
        out.diagnostics
    }

    async fn open(&self, _: OpenContext) -> Result<Arc<dyn Provider>, ProviderError> {
        Err(ProviderError::permanent("open", "this provider only has a name"))
    }
}

pub(crate) fn compile_in(
    folder: &Path,
    path: &str,
    text: &[u8],
    provider: Option<&str>,
    known: &[&'static str],
) -> Result<Compiled, Box<Rejected>> {
    let factories: Vec<Arc<dyn Factory>> = known.iter().map(|name| Arc::new(Named(name)) as Arc<dyn Factory>).collect();
    let source = Source { path: path.to_owned(), text: text.to_vec(), folder: folder.to_owned() };
    compile(source, &Options { provider, image: None, agent: None, factories: &factories, occopus: Occopus::default() })
        .map_err(Box::new)
}

pub(crate) fn compiled(text: &str) -> Compiled {
    compile_in(Path::new("/nonexistent"), "cluster.yaml", text.as_bytes(), None, &["local"]).unwrap_or_else(
        |rejected| panic!("{}", muster_doc::report(&rejected.diagnostics, &rejected.sources, false, 100)),
    )
}

/// Compiles a text with recipes beside it, given by path.
pub(crate) fn compile_beside(recipes: &[(&str, &str)], text: &str) -> Compiled {
    let result = try_beside(recipes, text);
    result.unwrap_or_else(|rejected| {
        panic!("{}", muster_doc::report(&rejected.diagnostics, &rejected.sources, false, 100))
    })
}

pub(crate) fn try_beside(recipes: &[(&str, &str)], text: &str) -> Result<Compiled, Box<Rejected>> {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in recipes {
        let path = folder.path().join("recipes").join(path);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs_err::write(path, text).expect("a file");
    }
    compile_in(folder.path(), "cluster.yaml", text.as_bytes(), None, &["local"])
}

/// What is said of a text that is wrong.
pub(crate) fn refused(text: &str) -> Vec<Diagnostic> {
    match compile_in(Path::new("/nonexistent"), "cluster.yaml", text.as_bytes(), None, &["local"]) {
        Ok(_) => panic!("it was taken:\n{text}"),
        Err(rejected) => rejected.diagnostics,
    }
}

/// The members that a first `up` would have, with addresses `10.0.0.1` and so on in order.
pub(crate) fn members(compiled: &Compiled) -> Members {
    let mut members = Members::default();
    for (index, node) in compiled.desired(&BTreeMap::new(), &BTreeMap::new()).into_iter().enumerate() {
        let last = u8::try_from(index + 1).expect("fewer than 255 nodes");
        let member =
            muster_engine::compile::Member { group: node.group, addresses: vec![[10, 0, 0, last].into()], facts: None };
        members.0.insert(node.name, member);
    }
    members
}

pub(crate) fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a name")
}

pub(crate) fn rendered(compiled: &Compiled, node: &str) -> Rendered {
    match compiled.render(&name(node), &members(compiled)) {
        Ok(rendered) => rendered,
        Err(RenderFault::Waiting(names)) => panic!("waits for {names:?}"),
        Err(RenderFault::Bad(found)) => panic!("{}", muster_doc::report(&found, &compiled.sources, false, 100)),
    }
}
