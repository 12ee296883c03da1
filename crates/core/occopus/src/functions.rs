//! The functions of Occopus' templates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use muster_doc::suggest;
use muster_doc::template::{Kwargs, Rest, TemplateError, TemplateErrorKind, Value, ValueKind};

use crate::lookup::{Instance, Lookup, Missing, PLACEHOLDER};
use crate::resolve::Target;
use crate::scalar::to_value;

/// Most commands whose output is kept for one node.
const COMMANDS_MAX: usize = 64;

/// What the functions look at.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) missing: Missing,
    /// Whose templates are rendered: not among those that an undefined name stands for.
    node_id: String,
    /// The nodes that an undefined name may stand for, those that the asking one needs first.
    any: Vec<String>,
    infra_id: String,
    infra_name: String,
    /// A template may be rendered twice; its commands are run once.
    commands: Mutex<BTreeMap<String, Result<String, String>>>,
}

impl World {
    pub(crate) fn new(target: &Target<'_>, lookup: Arc<dyn Lookup>) -> Arc<Self> {
        let others = target.infrastructure.before(target.node);
        Arc::new(Self {
            lookup,
            missing: Missing::default(),
            node_id: target.node_id.to_owned(),
            any: others.into_iter().map(|node| node.name.value.clone()).collect(),
            infra_id: target.infra_id.to_owned(),
            infra_name: target.infrastructure.name.value.clone(),
            commands: Mutex::default(),
        })
    }

    /// The instances that a name stands for. A name that is not defined stands for any node but the one that asks.
    fn find(&self, name: &Value) -> Result<Vec<Instance>, TemplateError> {
        if !name.is_true() {
            let all = self.any.iter().flat_map(|node| self.lookup.instances(node));
            let others: Vec<Instance> = all.filter(|instance| instance.node_id != self.node_id).collect();
            return if others.is_empty() {
                Err(error("a function got no name of a node, and there is no other node; put quotes around the name"))
            } else {
                Ok(others)
            };
        }
        let Some(text) = name.as_str() else {
            return Err(error("this function takes the name of a node; put quotes around it"));
        };
        let nodes = self.lookup.nodes();
        let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
        if !names.contains(&text) {
            let hint = suggest::hint(text, &names, "node");
            return Err(error(&format!("there is no node `{text}`; {hint}")));
        }
        let found = self.lookup.instances(text);
        if found.is_empty() {
            return Err(error(&format!("the node `{text}` has no instance; give it one, or ask for another node")));
        }
        Ok(found)
    }

    fn first(&self, name: &Value) -> Result<Instance, TemplateError> {
        self.find(name).map(|mut found| found.swap_remove(0))
    }

    fn address(&self, instance: &Instance) -> String {
        instance.addresses.first().cloned().unwrap_or_else(|| self.placeholder(instance))
    }

    /// Without one that is told apart, the last: providers that give several list the public ones first.
    fn private_address(&self, instance: &Instance) -> String {
        let address = instance.private_address.as_ref().or(instance.addresses.last());
        address.cloned().unwrap_or_else(|| self.placeholder(instance))
    }

    fn placeholder(&self, instance: &Instance) -> String {
        self.missing.note(instance);
        PLACEHOLDER.to_owned()
    }

    /// An instance as Occopus' records show it.
    pub(crate) fn record(&self, instance: &Instance) -> Value {
        let own = [
            ("node_id", instance.node_id.as_str()),
            ("instance_id", instance.instance_id.as_str()),
            ("infra_id", &self.infra_id),
            ("infra_name", &self.infra_name),
            ("name", instance.node.as_str()),
            ("state", instance.state.as_str()),
        ];
        let resource = instance.resource.iter().map(|tree| ("resource", to_value(tree)));
        Value::from_pairs(own.into_iter().map(|(name, text)| (name, Value::from(text))).chain(resource))
    }

    fn by_id(&self, node_id: &str) -> Option<Instance> {
        let nodes = self.lookup.nodes();
        nodes.iter().flat_map(|node| self.lookup.instances(node)).find(|instance| instance.node_id == node_id)
    }

    fn command(&self, command: &str) -> Result<String, TemplateError> {
        let mut known = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let output = match known.get(command) {
            Some(output) => output.clone(),
            None => {
                let words: Vec<&str> = command.split_whitespace().collect();
                let output = self.lookup.command(&words);
                if known.len() < COMMANDS_MAX {
                    known.insert(command.to_owned(), output.clone());
                }
                output
            }
        };
        output.map_err(|reason| {
            error(&format!("`cmd` cannot run `{command}`: {reason}; write its output into a variable instead"))
        })
    }

    /// Queries of the information broker, as far as templates have a use for them.
    fn ask(&self, key: &str, given: &[Value], named: &Kwargs) -> Result<Value, TemplateError> {
        const KEYS: [&str; 7] = [
            "node.find",
            "node.find_one",
            "node.resource.address",
            "node.resource.ip_address",
            "node.resource.state",
            "node.state",
            "infrastructure.name",
        ];
        let name = || named.peek::<Value>("name").unwrap_or_default();
        match key {
            "node.find" => Ok(self.find(&name())?.iter().map(|instance| self.record(instance)).collect()),
            "node.find_one" => Ok(self.record(&self.first(&name())?)),
            "infrastructure.name" => Ok(Value::from(self.infra_name.as_str())),
            key if KEYS.contains(&key) => {
                let id = given.first().and_then(|record| record.get_attr("node_id").ok());
                let id = id.filter(|id| !id.is_undefined()).or_else(|| named.peek::<Value>("node_id").ok());
                let found = id.as_ref().and_then(Value::as_str).and_then(|id| self.by_id(id));
                let Some(instance) = found else {
                    return Err(error(&format!("`{key}` needs an instance; give it what `find_node_id` yields")));
                };
                Ok(match key {
                    "node.resource.address" if instance.addresses.len() > 1 => {
                        instance.addresses.iter().map(String::as_str).map(Value::from).collect()
                    }
                    "node.resource.address" => Value::from(self.address(&instance)),
                    "node.resource.ip_address" => Value::from(self.private_address(&instance)),
                    _ => Value::from(instance.state.as_str()),
                })
            }
            _ => Err(error(&format!("`ibget` does not know `{key}`; {}", suggest::hint(key, &KEYS, "key")))),
        }
    }
}

/// Which functions a resolver has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    CloudInit,
    Docker,
    Basic,
    Health,
}

/// All that there are.
pub(crate) const FUNCTIONS: [&str; 7] = ["getip", "getprivip", "getipall", "cut", "find_node_id", "ibget", "cmd"];

/// The functions of a resolver, by name.
pub(crate) fn functions(world: &Arc<World>, set: Set) -> Vec<(String, Value)> {
    let names: &[&str] = match set {
        Set::CloudInit => &FUNCTIONS,
        Set::Docker => &["ibget", "find_node_id", "getip", "getipall", "cut"],
        Set::Basic => &["ibget", "find_node_id", "getip"],
        Set::Health => &["ibget"],
    };
    names.iter().map(|name| ((*name).to_owned(), function(name, Arc::clone(world)))).collect()
}

fn function(name: &str, world: Arc<World>) -> Value {
    match name {
        "getip" => Value::from_function(move |name: Value| world.first(&name).map(|instance| world.address(&instance))),
        "getprivip" => {
            Value::from_function(move |name: Value| world.first(&name).map(|instance| world.private_address(&instance)))
        }
        "getipall" => Value::from_function(move |name: Value| {
            let found = world.find(&name)?;
            Ok::<Value, TemplateError>(found.iter().map(|instance| Value::from(world.address(instance))).collect())
        }),
        "find_node_id" => Value::from_function(move |name: Value, all: Option<Value>, named: Kwargs| {
            let all = all.or_else(|| named.get::<Value>("allnodes").ok()).is_some_and(|all| all.is_true());
            named.assert_all_used()?;
            let found = world.find(&name)?;
            Ok::<Value, TemplateError>(if all {
                found.iter().map(|instance| world.record(instance)).collect()
            } else {
                world.record(&found[0])
            })
        }),
        "cmd" => Value::from_function(move |command: &str| world.command(command)),
        "ibget" => {
            Value::from_function(move |key: &str, given: Rest<Value>, named: Kwargs| world.ask(key, &given, &named))
        }
        _ => Value::from_function(cut),
    }
}

/// Python's `of[start:end]`.
fn cut(of: &Value, start: &Value, end: &Value) -> Result<Value, TemplateError> {
    let bound = |value: &Value, default: i64, length: i64| match i64::try_from(value.clone()) {
        Ok(value) if value < 0 => Ok((length + value).max(0)),
        Ok(value) => Ok(value.min(length)),
        Err(_) if value.is_none() => Ok(default),
        Err(_) => Err(error("`cut` takes a text and two whole numbers; write cut(text, 0, 4)")),
    };
    let place = |at: i64| usize::try_from(at).unwrap_or_default();
    if of.kind() == ValueKind::Seq {
        let items: Vec<Value> = of.try_iter()?.collect();
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let (start, end) = (bound(start, 0, length)?, bound(end, length, length)?);
        return Ok(items.into_iter().skip(place(start)).take(place(end - start)).collect());
    }
    let Some(text) = of.as_str() else {
        return Err(error("`cut` takes a text and two whole numbers; write cut(text, 0, 4)"));
    };
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let (start, end) = (bound(start, 0, length)?, bound(end, length, length)?);
    Ok(Value::from(text.chars().skip(place(start)).take(place(end - start)).collect::<String>()))
}

/// What went wrong; what to do, behind a semicolon.
fn error(message: &str) -> TemplateError {
    TemplateError::new(TemplateErrorKind::InvalidOperation, message.to_owned())
}
