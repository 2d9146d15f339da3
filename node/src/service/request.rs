//! Requests, read once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use stead_model::image::TERM_KEY;
use stead_model::name::Term;
use stead_model::{Error, Result};
use stead_proto::csi::v1::VolumeCapability;
use stead_proto::csi::v1::volume_capability::AccessType;
use stead_proto::csi::v1::volume_capability::access_mode::Mode;
use stead_proto::request::access;

use crate::filesystem::FsKind;
use crate::mount::flags::Options;
use crate::ownership;
use crate::state::Shape;

/// How a volume is wanted. No `Debug`: it holds mount flags.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) shape: Shape,
    pub(super) writes: bool,
    pub(super) exclusive: bool,
    /// None leaves the choice to what is there already.
    pub(super) filesystem: Option<FsKind>,
    pub(super) options: Options,
    pub(super) group: Option<u32>,
    pub(super) fingerprint: String,
}

impl Wanted {
    pub(super) fn parse(capability: Option<&VolumeCapability>) -> Result<Self> {
        let access = access(capability)?;
        let mut wanted = Self {
            shape: if access.block { Shape::Block } else { Shape::Mount },
            writes: access.writes(),
            exclusive: access.mode == Mode::SingleNodeSingleWriter,
            filesystem: None,
            options: Options::default(),
            group: None,
            fingerprint: capability.map(fingerprint).unwrap_or_default(),
        };
        let kind = capability.and_then(|capability| capability.access_type.as_ref());
        if let Some(AccessType::Mount(mount)) = kind {
            if !mount.fs_type.is_empty() {
                wanted.filesystem = Some(mount.fs_type.parse()?);
            }
            wanted.options = Options::parse(mount.mount_flags.iter().map(String::as_str))?;
            if !mount.volume_mount_group.is_empty() {
                wanted.group = Some(ownership::group_id(&mount.volume_mount_group)?);
            }
        }
        Ok(wanted)
    }

    /// Whether writing is refused, given whether the hold refuses it.
    pub(super) fn readonly(&self, held_readonly: bool) -> bool {
        held_readonly || !self.writes || self.options.readonly()
    }
}

/// Tells two capabilities apart without keeping what is in them.
fn fingerprint(capability: &VolumeCapability) -> String {
    let digest = Sha256::digest(capability.encode_to_vec());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The term that the controller handed out.
pub(super) fn term(context: &BTreeMap<String, String>) -> Result<Term> {
    let text = context.get(TERM_KEY).ok_or_else(|| {
        Error::precondition(format!(
            "publish_context lacks '{TERM_KEY}': ControllerPublishVolume comes first, and its answer is passed on"
        ))
    })?;
    text.parse()
}

/// A required absolute path.
pub(super) fn path(field: &str, text: &str) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(Error::invalid(format!("{field} is missing")));
    }
    let path = Path::new(text);
    let plain = path.is_absolute()
        && !text.contains('\0')
        && path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if plain {
        return Ok(path.components().collect());
    }
    Err(Error::invalid(format!("{field} is not an absolute path without '..'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_has_one_spelling() {
        assert_eq!(path("p", "/a//b/").unwrap(), Path::new("/a/b"));
        for bad in ["", "a/b", "/a/../b", "/a\0b"] {
            assert!(path("p", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_term_says_who_has_to_come_first() {
        let error = term(&BTreeMap::new()).unwrap_err();
        assert_eq!(error.kind(), stead_model::Kind::Precondition);
        assert!(error.to_string().contains("ControllerPublishVolume"));
    }
}
