//! muster-cloudinit
