//! `muster image`: the images that machines start from, made beforehand, listed and removed.

mod build;
mod progress;

use std::sync::Arc;

use clap::Subcommand;
use muster_provider::{BakedImage, Bakery, ImageId};
use serde_json::{Value, json};

use crate::confirm::confirm;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::output::Printer;
use crate::output::table::{age, bytes, table};
use crate::registry;

/// Make, list and remove the images that machines start from
///
/// A base is made once; each set of packages is a layer on top of it, made once too. `muster up` makes what it needs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  muster image ls                                  what there is, and who uses it\n  \
                  muster image build debian-12                     the base\n  \
                  muster image build debian-12 --with munge,slurmd the base with packages\n  \
                  muster image build -f cluster.yaml               all that a cluster file needs\n  \
                  muster image build -f cluster.yaml --refresh     anew, from what the package servers have today\n  \
                  muster image rm 3fa94c01b2d7                     one that nothing needs\n  \
                  muster image prune                               all that nothing needs"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List images: what is in them, how large they are, who uses them
    Ls(OnProvider),
    Build(build::Args),
    /// Remove an image that nothing needs
    Rm {
        /// Its id, or the first digits of it, as `muster image ls` shows it
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        provider: OnProvider,
    },
    /// Remove all images that nothing needs, and what interrupted builds have left
    Prune {
        #[command(flatten)]
        provider: OnProvider,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct OnProvider {
    /// Whose images
    #[arg(long, value_name = "NAME", default_value = muster_spec::DEFAULT_PROVIDER)]
    provider: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<ExitStatus, Failure> {
    match args.action {
        Action::Ls(provider) => list(&provider, context).await,
        Action::Build(args) => build::run(args, context).await,
        Action::Rm { ids, provider } => remove(&ids, &provider, context).await,
        Action::Prune { provider, yes } => prune(&provider, yes, context).await,
    }
}

fn bakery(provider: &str, context: &Context) -> Result<Arc<dyn Bakery>, Failure> {
    let factory = registry::find(provider)?;
    factory.bakery(context.paths.images())?.ok_or_else(|| {
        Failure::usage(
            format!("the provider `{provider}` makes no images"),
            "its machines start from images that are made elsewhere",
        )
    })
}

/// Making and removing asks for what making machines asks for.
fn permitted(provider: &str) -> Result<(), Failure> {
    registry::find(provider)?.permitted().map_err(|error| Failure::Error {
        hint: error.hint.clone(),
        error: error.into(),
        status: ExitStatus::NO_PERMISSION,
    })
}

async fn list(provider: &OnProvider, context: &Context) -> Result<ExitStatus, Failure> {
    let images = bakery(&provider.provider, context)?.list().await?;
    let printer = &context.printer;
    if !printer.is_text() {
        let images: Vec<Value> = images.iter().map(document).collect();
        printer.json(&json!({ "version": 1, "images": images }))?;
    } else if images.is_empty() {
        printer.note("There is no image. Make one: muster image build debian-12");
    } else {
        printer.line(&shown(printer, &images));
    }
    Ok(ExitStatus::DONE)
}

fn shown(printer: &Printer, images: &[BakedImage]) -> String {
    let rows = images.iter().map(|image| {
        let packages: Vec<&str> = image.packages.iter().map(String::as_str).collect();
        let packages = if packages.is_empty() { "(base)".to_owned() } else { packages.join(" ") };
        vec![
            image.id.to_string(),
            image.image.clone(),
            packages,
            bytes(image.bytes),
            age(image.built_at),
            if image.used_by.is_empty() { "-".to_owned() } else { image.used_by.join(", ") },
        ]
    });
    table(printer, &["ID", "IMAGE", "PACKAGES", "SIZE", "AGE", "USED BY"], rows)
}

fn document(image: &BakedImage) -> Value {
    json!({
        "id": image.id, "image": image.image, "packages": image.packages, "bytes": image.bytes,
        "built_at": image.built_at, "used_by": image.used_by,
    })
}

async fn remove(ids: &[String], provider: &OnProvider, context: &Context) -> Result<ExitStatus, Failure> {
    permitted(&provider.provider)?;
    let bakery = bakery(&provider.provider, context)?;
    let images = bakery.list().await?;
    let wanted = ids.iter().map(|id| find(&images, id)).collect::<Result<Vec<ImageId>, Failure>>()?;
    for id in &wanted {
        bakery.remove(id).await?;
        if context.printer.is_text() {
            context.printer.note(&format!("{id} removed"));
        }
    }
    if !context.printer.is_text() {
        context.printer.json(&json!({ "version": 1, "removed": wanted }))?;
    }
    Ok(ExitStatus::DONE)
}

fn find(images: &[BakedImage], start: &str) -> Result<ImageId, Failure> {
    let found: Vec<&BakedImage> = images.iter().filter(|image| image.id.0.starts_with(start)).collect();
    match found.as_slice() {
        [one] if !start.is_empty() => Ok(one.id.clone()),
        [] => Err(Failure::usage(format!("there is no image `{start}`"), "`muster image ls` shows those there are")),
        several => Err(Failure::usage(
            format!("`{start}` may be one of {} images", several.len()),
            "write more digits of its id; `muster image ls` shows them",
        )),
    }
}

async fn prune(provider: &OnProvider, yes: bool, context: &Context) -> Result<ExitStatus, Failure> {
    permitted(&provider.provider)?;
    let bakery = bakery(&provider.provider, context)?;
    if !confirm("Remove all images that no machine needs?", yes)? {
        context.printer.note("Nothing was changed.");
        return Ok(ExitStatus::FAILED);
    }
    let removed = bakery.prune().await?;
    if context.printer.is_text() {
        let noun = if removed.len() == 1 { "image" } else { "images" };
        let freed = bytes(removed.iter().map(|image| image.bytes).sum());
        context.printer.note(&format!("{} {noun} removed, {freed} freed", removed.len()));
    } else {
        let removed: Vec<Value> = removed.iter().map(document).collect();
        context.printer.json(&json!({ "version": 1, "removed": removed }))?;
    }
    Ok(ExitStatus::DONE)
}

#[cfg(test)]
mod tests {
    use muster_types::Timestamp;

    use super::*;

    fn image(id: &str) -> BakedImage {
        BakedImage {
            id: ImageId(id.to_owned()),
            image: "debian-12".to_owned(),
            packages: std::collections::BTreeSet::new(),
            bytes: 3 << 20,
            built_at: Timestamp::now(),
            used_by: Vec::new(),
        }
    }

    #[test]
    fn the_first_digits_name_an_image_unless_two_have_them() {
        let images = [image("aa11"), image("aa22"), image("bb33")];
        assert_eq!(find(&images, "b").unwrap(), ImageId("bb33".to_owned()));
        assert_eq!(find(&images, "aa2").unwrap(), ImageId("aa22".to_owned()));
        for wrong in ["aa", "c", ""] {
            assert!(find(&images, wrong).is_err(), "{wrong}");
        }
    }
}
