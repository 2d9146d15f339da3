//! Listening sockets, bound before anything else is started: a process that cannot have its socket
//! ends before it has touched a volume.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net as blocking;
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use tokio::net::{TcpListener, UnixListener};

use crate::failure::Failure;
use crate::option::SocketPath;

/// Binds a UNIX socket that only our own user can connect to. The file of a process that is gone is
/// replaced; one that answers is left alone, and so is one that is no socket.
pub(crate) fn bind_unix(socket: &SocketPath) -> Result<UnixListener, Failure> {
    let path = socket.path();
    make_way(path)?;
    // The file must not be open to others for even a moment, so its mode has to be right from the
    // start. Nothing else runs yet that could make files meanwhile.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = blocking::UnixListener::bind(path);
    umask(before);
    bound
        .and_then(|listener| {
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        })
        .map_err(|error| refused(path, &error))
}

/// Binds a TCP socket.
pub(crate) async fn bind_tcp(address: SocketAddr, option: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!(
            "could not listen on {address}: {error}; name another address by {option}"
        ))
    })
}

fn make_way(path: &Path) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| refused(path, &error))?;
    }
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(path, &error)),
        Ok(found) => found,
    };
    if !found.file_type().is_socket() {
        return Err(Failure::new(format!(
            "'{}' exists and is no socket: remove it, or choose another path",
            path.display()
        )));
    }
    match blocking::UnixStream::connect(path) {
        Ok(_) => Err(Failure::new(format!(
            "another process answers at '{}': stop it, or choose another path",
            path.display()
        ))),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| refused(path, &error))
        }
        Err(error) => Err(refused(path, &error)),
    }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!(
        "could not listen at '{}': {error}; choose another path, or run as a user who may write there",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn socket(dir: &tempfile::TempDir) -> SocketPath {
        SocketPath::within(dir.path(), "a.sock").unwrap()
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = socket(&dir);
        let _listener = bind_unix(&socket).unwrap();
        let mode = fs::metadata(socket.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let socket = socket(&dir);
        let live = bind_unix(&socket).unwrap();
        assert!(bind_unix(&socket).is_err());
        drop(live);
        assert!(socket.path().exists());
        assert!(bind_unix(&socket).is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = socket(&dir);
        fs::write(socket.path(), "mine").unwrap();
        assert!(bind_unix(&socket).is_err());
        assert_eq!(fs::read(socket.path()).unwrap(), b"mine");
    }
}
