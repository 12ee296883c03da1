//! Interim.
use muster_doc::{Diagnostic, Tree};
use muster_provider::Tags;
use muster_spec::OnFailure;
use muster_types::{GroupName, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
#[derive(Debug, Clone)]
pub struct DesiredNode {
    pub name: NodeName,
    pub group: GroupName,
    pub needs: Vec<GroupName>,
    pub provider: String,
    pub image: Option<String>,
    pub size: muster_provider::Size,
    pub settings: Option<Tree>,
    pub tags: Tags,
    pub machine_hash: String,
    pub on_failure: OnFailure,
    pub timeout: Duration,
}
#[derive(Debug, Clone)]
pub struct Members(pub BTreeMap<NodeName, Member>);
#[derive(Debug, Clone)]
pub struct Member {
    pub group: GroupName,
    pub addresses: Vec<IpAddr>,
}
#[derive(Debug, Clone)]
pub struct Rendered {
    pub document: String,
    pub hash: String,
    pub checks: Vec<muster_api::Check>,
}
#[derive(Debug, Clone)]
pub enum RenderFault {
    Waiting(BTreeSet<NodeName>),
    Bad(Vec<Diagnostic>),
}
