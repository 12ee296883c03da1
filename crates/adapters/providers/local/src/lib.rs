//! muster-provider-local
