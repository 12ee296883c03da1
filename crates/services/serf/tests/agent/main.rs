//! Our agent and Debian's real one in the same cluster, each of them in every role.

mod mixed;
mod peer;
mod proxy;
mod python;
mod rpc;
mod trouble;
