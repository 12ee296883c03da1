//! A cluster that is there, and the file that it was made from.

use std::path::{Path, PathBuf};

use muster_engine::compile::Compiled;
use muster_types::ClusterName;

use crate::context::{Context, Opened};
use crate::error::Failure;

/// Reads the file of a cluster that is in the state: the one that is named, else the one that it was made from.
pub(crate) async fn open(
    context: &Context,
    (cluster, file): (Option<&str>, Option<&Path>),
) -> Result<(Compiled, Opened), Failure> {
    let store = context.store()?;
    let named = cluster.or(file.and_then(Path::to_str));
    let name = context.choose(store.as_ref(), named).await?;
    let Some(record) = store.cluster(&name).await? else {
        return Err(context.unknown_cluster(store.as_ref(), &name).await?);
    };
    let file = match file {
        Some(file) => file.to_owned(),
        None => file_of(&record.file, &name)?,
    };
    let mut compiled = context.compile_again(&record, &file)?;
    if compiled.spec.name.value != name {
        let message = format!("{} describes cluster {}, not {name}", file.display(), compiled.spec.name.value);
        return Err(Failure::usage(message, "name its own file with `--file`"));
    }
    let opened = context.create(&mut compiled).await?;
    Ok((compiled, opened))
}

/// The file that the cluster was made from, if it is still there.
fn file_of(file: &str, cluster: &ClusterName) -> Result<PathBuf, Failure> {
    if file == "-" || file.is_empty() {
        let message = format!("cluster {cluster} was not made from a file that can be read again");
        return Err(Failure::usage(message, "name its file with `--file FILE`"));
    }
    let path = Path::new(file);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let message = format!("the file that cluster {cluster} was made from is gone: {file}");
    Err(Failure::usage(message, "name the file with `--file FILE`"))
}
