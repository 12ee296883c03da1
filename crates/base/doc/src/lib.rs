//! Documents that people write: YAML trees that know where each value stands, diagnostics that show it, templates
//! rendered leaf by leaf.

pub mod codes;
mod diagnostic;
mod emit;
mod offsets;
pub mod read;
mod report;
pub mod scalar;
mod source;
pub mod suggest;
pub mod template;
mod tree;
mod yaml;

pub use diagnostic::{Diagnostic, Severity};
pub use emit::emit;
pub use offsets::OffsetMap;
pub use report::{report, to_json};
pub use source::{SourceId, SourceMap, Span, Spanned};
pub use tree::{Key, Node, Scalar, Style, Tree};
pub use yaml::{
    EXPANDED_BYTES_MAX, NODES_MAX, TEXT_BYTES_MAX, Tagged, comments, parse, parse_bytes, parse_embedded, parse_source,
    parse_tagged,
};
