//! Names and numbers that are valid because they exist: parse once, at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The longest string that CSI allows in a field without a limit of its own, in bytes
/// (CSI, "Size Limits").
pub const STRING_BYTES_MAX: usize = 128;

/// The longest node id, in bytes (CSI, `NodeGetInfoResponse.node_id`).
pub const NODE_ID_BYTES_MAX: usize = 256;

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                $check($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_name! {
    /// A cluster: one DNS zone and one identity store shared by many services.
    ClusterName, "cluster name", check_label
}
text_name! {
    /// A stateful service of a cluster, such as `mongo`.
    ServiceName, "service name", check_label
}
text_name! {
    /// A member of a service, such as `mongo-0`; unique in its cluster, because it is a DNS label there.
    MemberName, "member name", check_label
}
text_name! {
    /// What a volume is to its member: `data` (the primary, which carries the network identity), `journal`, ...
    Role, "role", check_label
}
text_name! {
    /// A pool of addresses in a cluster.
    PoolName, "pool name", check_label
}
text_name! {
    /// A DNS name without the trailing dot, in lower case (RFC 1035 section 2.3.1, RFC 1123 section 2.1).
    DomainName, "DNS name", check_domain
}
text_name! {
    /// A host, as its node plugin names it; at most 256 bytes.
    NodeId, "node id", check_node_id
}
text_name! {
    /// The handle of a volume. Any text parses: an orchestrator may ask for a volume that we never made.
    VolumeId, "volume id", check_id
}
text_name! {
    /// The handle of a snapshot. Any text parses, as for [`VolumeId`].
    SnapshotId, "snapshot id", check_id
}
text_name! {
    /// The handle of a group snapshot. Any text parses, as for [`VolumeId`].
    GroupSnapshotId, "group snapshot id", check_id
}

macro_rules! fresh_id {
    ($name:ident, $prefix:literal) => {
        impl $name {
            #[doc = concat!("A handle that was never given before: `", $prefix, "` and 32 hexadecimal digits.")]
            pub fn fresh() -> Self {
                Self(format!(concat!($prefix, "{}"), uuid::Uuid::new_v4().simple()))
            }
        }
    };
}
fresh_id!(VolumeId, "vol-");
fresh_id!(SnapshotId, "snap-");
fresh_id!(GroupSnapshotId, "group-");

impl Role {
    /// The role whose volume carries the member's network identity.
    pub fn primary() -> Self {
        Self("data".to_owned())
    }

    /// Whether this is [`Role::primary`].
    pub fn is_primary(&self) -> bool {
        self.0 == "data"
    }
}

impl MemberName {
    /// The trailing number of `mongo-0`, where there is one.
    pub fn ordinal(&self) -> Option<u32> {
        self.0.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok())
    }
}

/// A member within its cluster: the key of its identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberKey {
    /// The cluster.
    pub cluster: ClusterName,
    /// The member.
    pub member: MemberName,
}

impl fmt::Display for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.member)
    }
}

impl FromStr for MemberKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (cluster, member) = text
            .split_once('/')
            .ok_or_else(|| Error::invalid(format!("'{text}' is not of the form CLUSTER/MEMBER")))?;
        Ok(Self { cluster: cluster.parse()?, member: member.parse()? })
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                text.parse().map(Self).map_err(|_| {
                    Error::invalid(format!("'{text}' is not a whole number"))
                })
            }
        }
    };
}

number! {
    /// The fencing token: it grows each time a member changes hands and travels in every side effect.
    Term
}
number! {
    /// How often a node lost its lease, plus one: a hold of an older epoch is over.
    Epoch
}
number! {
    /// A size in bytes.
    Bytes
}

impl Bytes {
    /// One mebibyte.
    pub const MIB: Bytes = Bytes(1 << 20);
    /// One gibibyte.
    pub const GIB: Bytes = Bytes(1 << 30);
}

/// A DNS label: 1 to 63 of `a-z`, `0-9`, `-`, not starting or ending with `-` (RFC 1123 section 2.1).
fn check_label(what: &str, text: &str) -> Result<()> {
    let fine = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fine {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what} '{}' is not a DNS label: use 1 to 63 of a-z, 0-9 and '-', not '-' at either end",
        shorten(text)
    )))
}

fn check_domain(what: &str, text: &str) -> Result<()> {
    let label = |label: &str| {
        // A service label begins with an underscore (RFC 2782).
        check_label(what, label.strip_prefix('_').unwrap_or(label)).is_ok()
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what} '{}' is not valid: use labels of a-z, 0-9 and '-' joined by dots, 253 bytes at most",
        shorten(text)
    )))
}

fn check_node_id(what: &str, text: &str) -> Result<()> {
    check_text(what, text, NODE_ID_BYTES_MAX)
}

fn check_id(what: &str, text: &str) -> Result<()> {
    check_text(what, text, STRING_BYTES_MAX)
}

/// Checks a free text as CSI limits it: not empty, no control characters, at most `bytes_max` bytes.
pub fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid(format!("{what} is missing")));
    }
    if text.len() > bytes_max {
        return Err(Error::invalid(format!(
            "{what} is {} bytes long: {bytes_max} are allowed",
            text.len()
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(format!("{what} contains a control character")));
    }
    Ok(())
}

/// Enough of a bad input to recognise it, without filling a log with the rest.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(64).flat_map(char::escape_default).collect();
    if text.chars().count() > 64 {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_follows_rfc_1123() {
        for good in ["a", "mongo-0", "0", &"x".repeat(63)] {
            assert!(good.parse::<MemberName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<MemberName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_is_labels_and_dots() {
        assert!("_redis._tcp.prod.stead.internal".parse::<DomainName>().is_ok());
        for bad in ["", ".", "a..b", "a.b.", "A.b", &"a.".repeat(130)] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_of_a_stranger_parses() {
        assert!("fake-vol-id-0123456789".parse::<VolumeId>().is_ok());
        assert!("x".repeat(129).parse::<VolumeId>().is_err());
        assert!("".parse::<VolumeId>().is_err());
    }

    #[test]
    fn the_ordinal_is_the_last_number() {
        assert_eq!("mongo-12".parse::<MemberName>().unwrap().ordinal(), Some(12));
        assert_eq!("mongo-a".parse::<MemberName>().unwrap().ordinal(), None);
        assert_eq!("mongo".parse::<MemberName>().unwrap().ordinal(), None);
    }

    #[test]
    fn a_bad_name_is_refused_when_read_from_json_too() {
        assert!(serde_json::from_str::<ServiceName>("\"Not A Label\"").is_err());
    }
}
