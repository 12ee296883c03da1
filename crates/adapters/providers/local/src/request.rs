//! What a machine is asked for with, looked at before anything is made.

use std::path::{Path, PathBuf};

use muster_provider::{MachineRequest, ProviderError};

use crate::image::HOST;
use crate::protocol::CreateRequest;
use crate::settings::{self, Init};
use crate::shared;

/// Where systemd is in the tree of a distribution, with and without a merged `/usr`.
const SYSTEMD: [&str; 2] = ["usr/lib/systemd/systemd", "lib/systemd/systemd"];

/// The order for the shepherd. `lower` is what the root is stacked from, and `default` the init that the cluster's block
/// names.
pub(crate) fn order(
    request: &MachineRequest,
    lower: Vec<PathBuf>,
    default: Option<Init>,
) -> Result<CreateRequest, ProviderError> {
    let init = init(request.image.as_deref(), request.settings.as_ref(), default)?;
    if init == Init::Systemd && !lower.iter().any(|layer| has_systemd(layer)) {
        return Err(ProviderError::permanent("create", "its image has no systemd: there is no /lib/systemd/systemd")
            .hint("give the group `local: { init: agent }`"));
    }
    check_shared(request.shared_folders.iter().map(PathBuf::as_path))?;
    Ok(CreateRequest {
        name: request.name.clone(),
        token: request.token.clone(),
        tags: request.tags.clone(),
        size: request.size.clone(),
        lower,
        init,
        shared_folders: request.shared_folders.clone(),
        user_data: request.user_data.clone(),
    })
}

/// What PID 1 of such a machine is: the group's word, else the cluster's, else what suits the image.
pub(crate) fn init(
    image: Option<&str>,
    settings: Option<&muster_doc::Tree>,
    default: Option<Init>,
) -> Result<Init, ProviderError> {
    let image = image.unwrap_or(HOST);
    let own = settings::read(settings).0.init;
    // The cluster's word is meant for the images that can.
    let default = default.filter(|init| *init == Init::Agent || image != HOST);
    let init = own.or(default).unwrap_or_else(|| Init::of_image(image));
    if init == Init::Systemd && image == HOST {
        return Err(ProviderError::permanent("create", "the image `host` cannot be started by systemd")
            .hint("give the group `image: debian-12`, or take `init: systemd` away"));
    }
    Ok(init)
}

pub(crate) fn check_shared<'a>(mut folders: impl Iterator<Item = &'a Path>) -> Result<(), ProviderError> {
    let refused = folders.find_map(|path| Some((path, shared::refusal(path)?)));
    refused.map_or(Ok(()), |(path, reason)| {
        let message = format!("{} cannot be shared by machines: it {reason}", path.display());
        Err(ProviderError::permanent("create", message).hint("share a folder such as /home or /srv/data"))
    })
}

fn has_systemd(layer: &Path) -> bool {
    SYSTEMD.iter().any(|path| layer.join(path).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> muster_doc::Tree {
        muster_doc::parse(&mut muster_doc::SourceMap::default(), "settings", text).0.unwrap()
    }

    #[test]
    fn the_group_s_word_counts_before_the_cluster_s_and_the_image_s() {
        assert_eq!(init(None, None, None).unwrap(), Init::Agent);
        assert_eq!(init(Some("debian-12"), None, None).unwrap(), Init::Systemd);
        assert_eq!(init(Some("debian-12"), None, Some(Init::Agent)).unwrap(), Init::Agent);
        assert_eq!(init(Some("host"), None, Some(Init::Systemd)).unwrap(), Init::Agent);
        let systemd = tree("init: systemd");
        assert_eq!(init(Some("debian-12"), Some(&systemd), Some(Init::Agent)).unwrap(), Init::Systemd);
        let refused = init(None, Some(&systemd), None).unwrap_err();
        assert!(refused.to_string().contains("`host` cannot be started by systemd"), "{refused}");
        assert!(refused.hint.contains("debian-12"), "{}", refused.hint);
    }

    #[test]
    fn an_image_without_systemd_is_refused_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let (software, base) = (folder.path().join("software"), folder.path().join("base"));
        fs_err::create_dir_all(&software).unwrap();
        fs_err::create_dir_all(base.join("usr/lib/systemd")).unwrap();
        let mut request = MachineRequest {
            name: muster_types::NodeName::new("n-1").unwrap(),
            token: muster_types::ClientToken::new("token"),
            tags: muster_provider::Tags::new(),
            image: Some("debian-12".to_owned()),
            size: muster_provider::Size::default(),
            packages: std::collections::BTreeSet::new(),
            shared_folders: std::collections::BTreeSet::new(),
            settings: None,
            user_data: muster_types::Redacted::new(String::new()),
        };
        let lower = vec![software, base.clone()];
        let refused = order(&request, lower.clone(), None).unwrap_err();
        assert!(refused.to_string().contains("has no systemd"), "{refused}");
        assert!(refused.hint.contains("init: agent"), "{}", refused.hint);
        request.settings = Some(tree("init: agent"));
        assert_eq!(order(&request, lower.clone(), None).unwrap().init, Init::Agent);
        request.settings = None;
        fs_err::write(base.join("usr/lib/systemd/systemd"), "").unwrap();
        assert_eq!(order(&request, lower, None).unwrap().init, Init::Systemd);
    }

    #[test]
    fn folders_of_a_machine_s_own_are_refused_by_name() {
        check_shared(["/home", "/srv/data"].map(Path::new).into_iter()).unwrap();
        let refused = check_shared(["/home", "/etc"].map(Path::new).into_iter()).unwrap_err();
        assert!(refused.to_string().contains("/etc cannot be shared"), "{refused}");
    }
}
