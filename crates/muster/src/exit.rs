//! Exit codes, as the README lists them.

use std::process::ExitCode;

/// What a command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExitStatus(pub(crate) u8);

impl ExitStatus {
    pub(crate) const DONE: Self = Self(0);
    pub(crate) const FAILED: Self = Self(1);
    /// Changes are pending; only with `--detailed-exitcode`.
    pub(crate) const PENDING: Self = Self(2);
    pub(crate) const PARTLY: Self = Self(3);
    pub(crate) const USAGE: Self = Self(64);
    pub(crate) const BAD_FILE: Self = Self(65);
    pub(crate) const UNREACHABLE: Self = Self(69);
    pub(crate) const NO_PERMISSION: Self = Self(77);
    pub(crate) const INTERRUPTED: Self = Self(130);
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}
