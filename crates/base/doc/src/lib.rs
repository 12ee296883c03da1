//! Documents that people write: YAML trees that know where each value stands, diagnostics that show it, templates
//! rendered leaf by leaf.

mod diagnostic;
mod source;
mod tree;

pub use diagnostic::{Diagnostic, Severity};
pub use source::{SourceId, SourceMap, Span};
pub use tree::{Key, Node, Scalar, Style, Tree};
