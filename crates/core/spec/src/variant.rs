//! Several ways to make a node.

use muster_doc::Spanned;
use muster_doc::read::{Field, Findings, MapReader};

use crate::cluster::Context;
use crate::group::cloud_init;
use crate::model::{SizeSpec, Variant};
use crate::{health, values};

pub(crate) fn read(map: &mut MapReader<'_>, context: &Context<'_>, out: &mut Findings) -> Vec<Variant> {
    let Some(field) = map.field("variants").filter(|field| !field.tree.is_null()) else { return Vec::new() };
    field.items(false, out).iter().filter_map(|item| variant(item, context, out)).collect()
}

fn variant(field: &Field<'_>, context: &Context<'_>, out: &mut Findings) -> Option<Variant> {
    let mut map = MapReader::new(field.tree, "a variant", out)?;
    let provider: Option<Spanned<String>> = values::providers(&mut map, context, out).into_iter().next();
    let variant = Variant {
        span: field.tree.span,
        provider,
        image: map.optional("image", out),
        size: map.field("size").map_or_else(SizeSpec::default, |field| values::size(&field, out)),
        tags: values::tags(&mut map, out),
        cloud_init: map.field("cloud_init").and_then(|field| cloud_init(&field, out)),
        health: map.get("health").filter(|tree| !tree.is_null()).cloned(),
        blocks: values::blocks(&mut map, context),
        tree: field.tree.clone(),
    };
    map.finish(out);
    if let Some(tree) = &variant.health {
        health::read_health(tree, out);
    }
    Some(variant)
}
