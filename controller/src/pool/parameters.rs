//! The parameters of a volume that the pool knows.

use std::collections::BTreeMap;

use stead_model::image::FS_TYPE;

use super::error::{PoolError, Result};

/// Whether the blocks of an image are reserved when it is made: `thin` (the default) or `thick`.
pub const PROVISIONING: &str = "provisioning";
/// How the loop device reads the image; may change later.
pub const DIRECT_IO: &str = "directIo";

/// A parameter: its key, its values (the first is the default) and whether it may change later.
struct Parameter {
    key: &'static str,
    values: &'static [&'static str],
    mutable: bool,
}

static KNOWN: [Parameter; 3] = [
    Parameter { key: PROVISIONING, values: &["thin", "thick"], mutable: false },
    Parameter { key: FS_TYPE, values: &["ext4", "xfs", "btrfs"], mutable: false },
    Parameter { key: DIRECT_IO, values: &["auto", "on", "off"], mutable: true },
];

/// Parameters by their keys.
pub(crate) type Parameters = BTreeMap<String, String>;

/// Checks keys and values.
pub(crate) fn check(parameters: &Parameters) -> Result<()> {
    for (key, value) in parameters {
        let parameter = find(key)?;
        if !parameter.values.contains(&value.as_str()) {
            return Err(PoolError::BadValue {
                key: parameter.key,
                value: value.clone(),
                allowed: parameter.values.join(", "),
            });
        }
    }
    Ok(())
}

/// Checks keys and values of a change.
pub(crate) fn check_change(parameters: &Parameters) -> Result<()> {
    check(parameters)?;
    for key in parameters.keys() {
        if !find(key)?.mutable {
            return Err(PoolError::FixedParameter {
                key: key.clone(),
                mutable: keys(|parameter| parameter.mutable),
            });
        }
    }
    Ok(())
}

/// The value that holds, given or default.
pub(crate) fn value(parameters: &Parameters, key: &'static str) -> Result<String> {
    let default = find(key)?.values.first().copied().unwrap_or_default();
    Ok(parameters.get(key).cloned().unwrap_or_else(|| default.to_owned()))
}

fn find(key: &str) -> Result<&'static Parameter> {
    KNOWN
        .iter()
        .find(|parameter| parameter.key == key)
        .ok_or_else(|| PoolError::UnknownParameter { key: key.to_owned(), known: keys(|_| true) })
}

fn keys(which: impl Fn(&Parameter) -> bool) -> String {
    let keys: Vec<_> = KNOWN.iter().filter(|one| which(one)).map(|one| one.key).collect();
    keys.join(", ")
}
