//! muster-transport
