//! What Occopus' files may ask for and nobody here carries out, by name.

use muster_doc::{Diagnostic, codes};
use muster_occopus::{ConfigManagement, Contextualisation, Implementation, Infrastructure, Plugin};
use muster_types::GroupName;

/// For one way to make the nodes of a group.
pub(super) fn unsupported(group: &GroupName, provider: &str, way: &Implementation) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let ConfigManagement::Chef { tree } = &way.config_management {
        let message = format!("`{group}` is configured by Chef, and nobody here speaks with a Chef server");
        let hint = "remove `config_management` and have its cloud-config install what the run list does";
        found.push(Diagnostic::error(codes::UNSUPPORTED, message, hint).at(tree.span, "not carried out"));
    }
    if let Some(database) = way.health.databases.first() {
        let message = "logins to databases cannot be checked yet";
        let hint = "check the port of the database, as in `ports: [ 3306 ]`";
        found.push(Diagnostic::error(codes::UNSUPPORTED, message, hint).at(database.span, "this check"));
    }
    found.extend(left_image(group, provider, way));
    found
}

/// Machines of another provider do not start from a container's image.
fn left_image(group: &GroupName, provider: &str, way: &Implementation) -> Option<Diagnostic> {
    let resource = &way.resource;
    let container = matches!(resource.plugin, Plugin::Docker | Plugin::AzureAci);
    if !container || provider == resource.plugin.name() {
        return None;
    }
    let image = resource.tree.get("image")?;
    let shown = image.as_str().unwrap_or("of a container");
    let message = match way.contextualisation {
        Contextualisation::Docker { .. } => {
            format!("`{group}` runs its command on a machine of `{provider}`, without the image `{shown}`")
        }
        _ => format!("`{group}` has no command, and a machine of `{provider}` does not start the image `{shown}`"),
    };
    let hint = "what the command needs has to be on the machine's own image";
    Some(Diagnostic::warning(codes::CLOUD_NO_EFFECT, message, hint).at(image.span, "not used"))
}

/// Attributes that edges hand on are known to Chef alone.
pub(super) fn mappings(infrastructure: &Infrastructure) -> Vec<Diagnostic> {
    let edges = infrastructure.edges.iter().filter(|edge| !edge.mappings.is_empty());
    let found = edges.map(|edge| {
        let message = "the mappings of a dependency have no effect: only Chef knows of attributes";
        let hint = "hand the value on by a variable, or by `getip`";
        Diagnostic::warning(codes::OCCOPUS_IGNORED, message, hint).at(edge.span, "of this dependency")
    });
    found.collect()
}
