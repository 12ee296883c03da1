//! The cluster's own CA, the certificates it signs, and the one-time token of an enrolment.
//!
//! A certificate says who somebody is by one URI: `muster://CLUSTER/operator/USER` may give orders,
//! `muster://CLUSTER/node/NAME` may not. Every function here is synchronous; those that touch files say so.

mod authority;
mod certificate;
mod error;
mod files;
mod node;
mod peer;
mod token;

pub use authority::{Authority, Identity};
pub use certificate::Validity;
pub use error::PkiError;
pub use node::NodeKey;
pub use peer::{Peer, certificate_validity, peer_identity};
pub use token::{new_token, proof, token_hash, token_matches, verify_proof};
