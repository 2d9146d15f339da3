//! What every request is held to before anything else: required fields and the specification's
//! size limits (CSI, "Size Limits": a string has at most 128 bytes, a map at most 4 KiB in total).

use std::collections::BTreeMap;
use std::str::FromStr;

use stead_model::name::{Bytes, STRING_BYTES_MAX, check_text};
use stead_model::{Error, Result};

use crate::csi::v1::volume_capability::access_mode::Mode;
use crate::csi::v1::volume_capability::{AccessType, MountVolume};
use crate::csi::v1::{CapacityRange, VolumeCapability};

/// The largest map, keys and values together, in bytes.
const MAP_BYTES_MAX: usize = 4096;

/// A required identifier, parsed.
pub fn required<T: FromStr<Err = Error>>(field: &str, text: &str) -> Result<T> {
    if text.is_empty() {
        return Err(Error::invalid(format!("{field} is missing")));
    }
    text.parse()
}

/// A required name chosen by the orchestrator: any text but control characters, 128 bytes at most.
pub fn required_name(field: &str, text: &str) -> Result<String> {
    check_text(field, text, STRING_BYTES_MAX)?;
    Ok(text.to_owned())
}

/// Refuses a map above the limit. The message names the field and never its content.
pub fn check_map(field: &str, map: &BTreeMap<String, String>) -> Result<()> {
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAP_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{field} has {bytes} bytes of keys and values: {MAP_BYTES_MAX} are allowed"
        )));
    }
    Ok(())
}

/// How a volume is to be used, checked for what can be had at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The mode.
    pub mode: Mode,
    /// Whether the workload gets the device itself.
    pub block: bool,
    /// The file system asked for; empty leaves the choice to us.
    pub fs_type: String,
}

impl Access {
    /// Whether the mode lets the workload write.
    pub fn writes(&self) -> bool {
        self.mode != Mode::SingleNodeReaderOnly
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.block { "block" } else { "mount" };
        write!(f, "{kind} {}", self.mode.as_str_name())
    }
}

/// The one capability of a request.
pub fn access(capability: Option<&VolumeCapability>) -> Result<Access> {
    let capability = capability.ok_or_else(|| Error::invalid("volume_capability is missing"))?;
    let (block, fs_type) = match &capability.access_type {
        Some(AccessType::Block(_)) => (true, String::new()),
        Some(AccessType::Mount(MountVolume { fs_type, .. })) => (false, fs_type.clone()),
        None => return Err(Error::invalid("volume_capability says neither block nor mount")),
    };
    let mode = capability.access_mode.as_ref().map_or(Mode::Unknown, |mode| mode.mode());
    match mode {
        Mode::SingleNodeWriter
        | Mode::SingleNodeReaderOnly
        | Mode::SingleNodeSingleWriter
        | Mode::SingleNodeMultiWriter => Ok(Access { mode, block, fs_type }),
        Mode::Unknown => Err(Error::invalid("volume_capability has no access mode")),
        Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter => {
            Err(Error::invalid(format!(
                "access mode {} cannot be had: a volume is held by one node at a time, use a SINGLE_NODE_ mode",
                mode.as_str_name()
            )))
        }
    }
}

/// Every capability of a request, at least one.
pub fn accesses(capabilities: &[VolumeCapability]) -> Result<Vec<Access>> {
    if capabilities.is_empty() {
        return Err(Error::invalid("volume_capabilities is missing"));
    }
    capabilities.iter().map(|capability| access(Some(capability))).collect()
}

/// A size range: at least `required`, at most `limit`, each where given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SizeRange {
    /// The least.
    pub required: Option<Bytes>,
    /// The most.
    pub limit: Option<Bytes>,
}

impl SizeRange {
    /// Reads a range; 0 means "not given", as Swarm sends it for both ends.
    pub fn parse(range: Option<&CapacityRange>) -> Result<Self> {
        let Some(range) = range else { return Ok(Self::default()) };
        let bytes = |field: &str, value: i64| match u64::try_from(value) {
            Ok(0) => Ok(None),
            Ok(value) => Ok(Some(Bytes(value))),
            Err(_) => {
                Err(Error::out_of_range(format!("{field} is {value}: a size is not negative")))
            }
        };
        let required = bytes("capacity_range.required_bytes", range.required_bytes)?;
        let limit = bytes("capacity_range.limit_bytes", range.limit_bytes)?;
        if let (Some(required), Some(limit)) = (required, limit)
            && required > limit
        {
            return Err(Error::out_of_range(format!(
                "capacity_range asks for at least {required} and at most {limit} bytes: no size is both"
            )));
        }
        Ok(Self { required, limit })
    }

    /// Whether a size lies in it.
    pub fn contains(&self, size: Bytes) -> bool {
        self.required.is_none_or(|required| required <= size)
            && self.limit.is_none_or(|limit| size <= limit)
    }

    /// The size to make: what is required, else the default as far as the limit allows.
    pub fn pick(&self, default: Bytes) -> Bytes {
        match (self.required, self.limit) {
            (Some(required), _) => required,
            (None, Some(limit)) => default.min(limit),
            (None, None) => default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_model::Kind;

    #[test]
    fn a_map_may_have_4096_bytes_and_not_one_more() {
        let map = |value: usize| BTreeMap::from([("key".to_owned(), "v".repeat(value))]);
        assert!(check_map("parameters", &map(4093)).is_ok());
        let error = check_map("secrets", &map(4094)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(!error.to_string().contains("vv"), "{error}");
    }

    #[test]
    fn a_name_may_have_128_bytes_and_not_one_more() {
        assert!(required_name("name", &"n".repeat(128)).is_ok());
        assert!(required_name("name", &"n".repeat(129)).is_err());
        assert!(required_name("name", "a\nb").is_err());
        assert!(required_name("name", "").is_err());
    }

    #[test]
    fn a_range_of_zeros_is_no_range() {
        let range = |required_bytes, limit_bytes| {
            SizeRange::parse(Some(&CapacityRange { required_bytes, limit_bytes }))
        };
        assert_eq!(range(0, 0).unwrap(), SizeRange::default());
        assert_eq!(range(5, 4).unwrap_err().kind(), Kind::OutOfRange);
        assert_eq!(range(-1, 0).unwrap_err().kind(), Kind::OutOfRange);
        assert_eq!(range(0, 7).unwrap().pick(Bytes(9)), Bytes(7));
        assert_eq!(range(3, 7).unwrap().pick(Bytes(9)), Bytes(3));
    }
}
