//! The cluster file as a typed model, and its reading from a tree. Pure: files that it refers to are read elsewhere.

mod cluster;
mod files;
mod group;
mod health;
mod hosts;
mod model;
mod names;
mod needs;
mod values;
mod variant;

pub use cluster::{Context, read};
pub use health::read_health;
pub use model::{
    CloudInit, ClusterSpec, Content, Count, DEFAULT_CHECK_TIMEOUT, DEFAULT_PROVIDER, DEFAULT_TIMEOUT, FileSpec,
    GroupSpec, HealthSpec, HostSpec, MysqlDatabase, OnFailure, OutsideSpec, Population, RecipeRef, SizeSpec, Variant,
};
pub use needs::check_needs;
