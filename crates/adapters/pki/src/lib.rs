//! The cluster's own CA, the certificates it signs, the one-time token of an enrolment, and the secrets that its
//! software shares.
//!
//! A certificate says who somebody is by one URI: `muster://CLUSTER/operator/USER` may give orders,
//! `muster://CLUSTER/node/NAME` may not. Every function here is synchronous; those that touch files say so.

mod authority;
mod certificate;
mod error;
mod files;
mod node;
mod peer;
mod secrets;
mod token;

pub use authority::{Authority, Identity};
pub use certificate::Validity;
pub use error::PkiError;
pub use node::NodeKey;
pub use peer::{Peer, certificate_validity, peer_identity};
pub use secrets::{SecretForm, SecretShape, Secrets};
pub use token::{new_token, proof, token_hash, token_matches, verify_proof};
