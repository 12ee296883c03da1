//! muster-store-sqlite
