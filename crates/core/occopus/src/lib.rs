//! Files of Occopus: infrastructure descriptions and node definitions become a typed model, and their templates yield
//! what Occopus' own pipeline would. Pure: other files and other nodes are asked for through what is handed in.

mod convert;
mod definitions;
mod dump;
mod edges;
mod functions;
mod import;
mod infrastructure;
mod load;
mod lookup;
mod model;
mod render;
mod resolve;
mod resource;
mod scalar;
mod schema;

pub use convert::{Cluster, Options, Origin, to_cluster};
pub use definitions::read_definitions;
pub use import::{Carried, Carry, Import, Imported, ImportedGroup, import};
pub use infrastructure::read_infrastructure;
pub use load::Loader;
pub use lookup::{Instance, Lookup};
pub use model::{
    ConfigManagement, Contextualisation, Definition, Definitions, Edge, HEALTH_TIMEOUT, HealthCheck, Implementation,
    Infrastructure, Mapping, NodeEntry, NodeMappings, Plugin, Resource, Scaling,
};
pub use resolve::{Context, Fault, Resolved, Target, resolve, resolve_health};
