//! Printing an error means printing what caused it.

use std::error::Error;
use std::fmt::Write as _;

/// `outer: inner: innermost`, for one line. No Display of ours repeats its source.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        write!(text, ": {cause}").expect("a String takes everything");
        source = cause.source();
    }
    text
}
