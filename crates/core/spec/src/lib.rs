//! muster-spec
