//! What a cluster file says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use muster_doc::{Span, Spanned, Tree};
use muster_types::{ByteSize, ClusterName, GroupName, Redacted};

/// Where machines come from unless the file says otherwise.
pub const DEFAULT_PROVIDER: &str = "local";

/// How long the configuration of a node may take.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);

/// How long a health check may go on failing.
pub const DEFAULT_CHECK_TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSpec {
    pub name: Spanned<ClusterName>,
    /// In order of preference; empty if the file names none.
    pub providers: Vec<Spanned<String>>,
    /// A mapping; groups' variables are laid over it.
    pub vars: Tree,
    /// What is particular to a provider, under its name, for that provider to read.
    pub blocks: BTreeMap<String, Tree>,
    /// In the order of the file.
    pub groups: Vec<GroupSpec>,
}

impl ClusterSpec {
    pub fn group(&self, name: &GroupName) -> Option<&GroupSpec> {
        self.groups.iter().find(|group| group.name == *name)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct GroupSpec {
    pub name: GroupName,
    /// Where the name stands.
    pub span: Span,
    pub recipe: Option<Spanned<RecipeRef>>,
    pub population: Population,
    /// Where that is said; the whole group where it is not.
    pub population_span: Span,
    /// Groups that must be ready before a node of this one is made.
    pub needs: Vec<Spanned<GroupName>>,
    /// In order of preference; empty leaves it to the cluster.
    pub providers: Vec<Spanned<String>>,
    pub image: Option<String>,
    /// Whether an agent is on its nodes: without one, user-data is all that they are given. Else as their provider has it.
    pub agent: Option<Spanned<bool>>,
    pub size: SizeSpec,
    pub tags: BTreeMap<String, String>,
    /// A mapping, without the cluster's own variables.
    pub vars: Tree,
    pub files: Vec<FileSpec>,
    pub cloud_init: Option<CloudInit>,
    /// As written, since its values may be templates; `read_health` types it once they are rendered.
    pub health: Option<Tree>,
    /// What nodes of the group listen on.
    pub ports: Vec<u16>,
    pub publish: Option<Tree>,
    pub mounts: Option<Tree>,
    pub on_failure: Spanned<OnFailure>,
    /// How long the configuration of a node may take.
    pub timeout: Duration,
    pub blocks: BTreeMap<String, Tree>,
    /// Ways to make a node of this group; what a variant says wins over what the group says.
    pub variants: Vec<Variant>,
    /// Keys and values that a variant must have to be chosen.
    pub filter: Option<Tree>,
}

impl GroupSpec {
    /// The variants that pass the filter.
    pub fn candidates(&self) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(|variant| self.filter.as_ref().is_none_or(|filter| variant.passes(filter)))
    }
}

/// How many nodes, or which machines.
#[derive(Debug, Clone, PartialEq)]
pub enum Population {
    Count(Count),
    /// Machines that exist.
    Hosts(Vec<HostSpec>),
}

impl Population {
    pub fn bounds(&self) -> Count {
        match self {
            Self::Count(count) => *count,
            Self::Hosts(hosts) => {
                let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
                Count { min: count, max: count }
            }
        }
    }
}

/// How many nodes a group may have; `up` makes `min`, and leaves what is between alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub min: u32,
    pub max: u32,
}

/// A machine that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSpec {
    pub span: Span,
    /// A name or an address.
    pub address: String,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub mac: Option<String>,
    pub bmc: Option<Tree>,
    pub vars: Tree,
    pub capabilities: Vec<String>,
}

impl HostSpec {
    /// The address, unless it is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }
}

/// `hello`, or `slurm/head` for a role of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeRef {
    pub name: String,
    pub role: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct SizeSpec {
    /// A provider's own type.
    pub name: Option<String>,
    pub memory: Option<ByteSize>,
    pub cpus: Option<f64>,
}

impl SizeSpec {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A file that each node of a group is given.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSpec {
    pub path: Spanned<String>,
    pub content: Content,
    /// Octal digits.
    pub mode: Option<String>,
    pub owner: Option<Tree>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A scalar that may be a template.
    Inline(Tree),
    /// A file beside the cluster file, copied as it is.
    Source(Spanned<String>),
    /// A file beside the cluster file, rendered.
    Template(Spanned<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum CloudInit {
    /// A scalar that holds YAML.
    Text(Tree),
    Mapping(Tree),
    /// A file beside the cluster file.
    Path(Spanned<String>),
}

/// What must hold for a node to be ready.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthSpec {
    pub agent: bool,
    pub ping: bool,
    pub ports: Vec<u16>,
    pub urls: Vec<String>,
    /// One word is a shell's command line.
    pub commands: Vec<Vec<String>>,
    pub databases: Vec<MysqlDatabase>,
    /// What is tried from the owner's machine; the rest is seen from the node.
    pub outside: Option<OutsideSpec>,
    /// How long each check may go on failing.
    pub timeout: Duration,
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            agent: true,
            ping: false,
            ports: Vec::new(),
            urls: Vec::new(),
            commands: Vec::new(),
            databases: Vec::new(),
            outside: None,
            timeout: DEFAULT_CHECK_TIMEOUT,
        }
    }
}

/// Probes that the owner sends to a node's first address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideSpec {
    pub ping: bool,
    pub ports: Vec<u16>,
    pub urls: Vec<String>,
    /// How long they may go on failing, from the first failure on.
    pub timeout: Duration,
}

/// A login that must succeed.
#[derive(Debug, Clone, PartialEq)]
pub struct MysqlDatabase {
    pub span: Span,
    pub name: String,
    pub user: String,
    pub password: Redacted<String>,
}

/// What happens to a node whose configuration or check failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It stays as it is, for a person to look at.
    #[default]
    Keep,
    /// The configuration is tried again, this many times.
    Retry(u32),
    /// The machine is removed and made anew.
    Replace,
    /// The whole run is taken back.
    Rollback,
}

/// One of several ways to make a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    pub span: Span,
    pub provider: Option<Spanned<String>>,
    pub image: Option<String>,
    pub size: SizeSpec,
    pub tags: BTreeMap<String, String>,
    pub cloud_init: Option<CloudInit>,
    pub health: Option<Tree>,
    pub blocks: BTreeMap<String, Tree>,
    /// As written, for filters.
    pub tree: Tree,
}

impl Variant {
    /// Whether the variant, or the block of its provider, has every key of the filter with the same value.
    pub fn passes(&self, filter: &Tree) -> bool {
        let holds = |key: &str, value: &Tree| {
            let own = self.tree.get(key).into_iter();
            let nested = self.blocks.values().filter_map(|block| block.get(key));
            own.chain(nested).any(|found| found.same(value))
        };
        filter.as_map().unwrap_or_default().iter().all(|(key, value)| holds(&key.text, value))
    }
}
