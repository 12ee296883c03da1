//! muster-plan
