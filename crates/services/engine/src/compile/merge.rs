//! Cloud-configs put together: lists are appended, mappings merged, and of single values the last one stands.

use muster_doc::{Diagnostic, Key, Node, Tree, codes};

/// Lays `over` over `base`. Both are mappings.
pub(super) fn merge(base: Tree, over: Tree, out: &mut Vec<Diagnostic>) -> Tree {
    let span = over.span;
    let (Node::Map(mut entries), Node::Map(top)) = (base.node, over.node) else {
        // Callers hand in mappings; anything else was refused when it was read.
        return Tree { node: Node::Map(Vec::new()), span };
    };
    for (key, value) in top {
        let Some(at) = entries.iter().position(|(known, _)| known.text == key.text) else {
            entries.push((key, value));
            continue;
        };
        let (known, present) = &mut entries[at];
        let present_value = std::mem::replace(present, Tree::null(span));
        *present = merge_value(known, present_value, &key, value, out);
    }
    Tree { node: Node::Map(entries), span }
}

fn merge_value(first: &Key, base: Tree, second: &Key, over: Tree, out: &mut Vec<Diagnostic>) -> Tree {
    match (&base.node, &over.node) {
        (Node::Null, _) | (Node::Scalar(_), Node::Scalar(_)) => over,
        (_, Node::Null) => base,
        (Node::Map(_), Node::Map(_)) => merge(base, over, out),
        (Node::Seq(_), Node::Seq(_)) => append(&first.text, base, over),
        _ => {
            let message = format!(
                "`{}` is {} here and {} in what it is put together with",
                second.text,
                over.kind(),
                base.kind()
            );
            let hint = "write both in the same form; lists are appended and mappings merged";
            let found = Diagnostic::error(codes::MERGE_TYPE, message, hint);
            out.push(found.at(second.span, over.kind()).related(first.span, base.kind()));
            base
        }
    }
}

/// A file that is written twice is written once, as the later says, unless the later adds to it; of reloads of one name
/// the later stands.
fn append(key: &str, base: Tree, over: Tree) -> Tree {
    let span = over.span;
    let (Node::Seq(mut items), Node::Seq(more)) = (base.node, over.node) else { return Tree::seq(Vec::new(), span) };
    for item in more {
        let adds = item.get("append").and_then(Tree::as_str).is_some_and(|append| append != "false");
        let named_by = match key {
            "write_files" if !adds => Some("path"),
            "reload" => Some("name"),
            _ => None,
        };
        let name = named_by.and_then(|by| item.get(by)).and_then(Tree::as_str);
        let same = |other: &Tree| named_by.and_then(|by| other.get(by)).and_then(Tree::as_str) == name;
        match items.iter().position(same).filter(|_| name.is_some()) {
            Some(at) => items[at] = item,
            None => items.push(item),
        }
    }
    Tree::seq(items, span)
}
