//! The path of a UNIX socket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What fits into `sockaddr_un.sun_path` with its closing zero (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// An absolute path that a UNIX socket can have; written with or without `unix://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketPath(PathBuf);

impl SocketPath {
    /// The socket of this name in a directory.
    pub(crate) fn within(dir: &Path, name: &str) -> Result<Self, String> {
        if !dir.is_absolute() {
            return Err(format!(
                "'{}' is not absolute: give the whole path, such as /var/lib/stead",
                dir.display()
            ));
        }
        dir.join(name).to_string_lossy().parse()
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for SocketPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = match text.split_once(':') {
            Some(("unix", rest)) => rest.strip_prefix("//").unwrap_or(rest),
            Some((scheme, _)) if !text.starts_with('/') => {
                return Err(format!(
                    "'{scheme}:' is not offered here: give a UNIX socket, such as unix:///run/stead/csi.sock"
                ));
            }
            _ => text,
        };
        if !path.starts_with('/') {
            return Err(
                "give an absolute path (three slashes), such as unix:///run/stead/csi.sock".into(),
            );
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(format!(
                "the path is {} bytes long and the kernel takes {PATH_BYTES_MAX}: choose a shorter one",
                path.len()
            ));
        }
        Ok(Self(path.into()))
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

/// Reads the path of the CSI socket.
///
//= CSI "Packaging": "The socket file [...] MUST have a name that ends with `.sock`"
pub(super) fn parse_endpoint(text: &str) -> Result<SocketPath, String> {
    let socket: SocketPath = text.parse()?;
    if socket.path().extension().is_none_or(|extension| extension != "sock") {
        return Err("the name of a CSI socket ends in .sock: rename it, \
                    for instance unix:///run/stead/csi.sock"
            .to_owned());
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_with_or_without_its_scheme() {
        for text in ["unix:///run/a.sock", "unix:/run/a.sock", "/run/a.sock"] {
            assert_eq!(text.parse::<SocketPath>().unwrap().path(), Path::new("/run/a.sock"));
        }
        for bad in ["", "a.sock", "unix://a.sock", "tcp://1.2.3.4:5", &"/x".repeat(60)] {
            assert!(bad.parse::<SocketPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_is_absolute() {
        assert!(SocketPath::within(Path::new("/run/stead"), "a.sock").is_ok());
        let told = SocketPath::within(Path::new("state"), "a.sock").unwrap_err();
        assert!(told.contains("'state' is not absolute"), "{told}");
    }

    #[test]
    fn a_csi_socket_ends_in_sock() {
        assert!(parse_endpoint("/run/a.sock").is_ok());
        assert!(parse_endpoint("/run/a").unwrap_err().contains("ends in .sock"));
        assert!(parse_endpoint("/run/.sock").is_err());
    }
}
