//! muster-e2e
