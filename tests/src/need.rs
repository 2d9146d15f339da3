//! What a rig needs of the machine, said in one sentence where it is missing.

use std::path::{Path, PathBuf};

use stead_model::{Error, Result};

/// A program that a rig runs, and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Names it goes by: the first that is installed counts.
    pub names: &'static [&'static str],
    /// The Debian package.
    pub package: &'static str,
}

/// Namespaces and links.
pub const IP: Tool = Tool { names: &["ip"], package: "iproute2" };
/// Mounts.
pub const MOUNT: Tool = Tool { names: &["mount"], package: "mount" };
/// Loop devices.
pub const LOSETUP: Tool = Tool { names: &["losetup"], package: "mount" };
/// The default file system.
pub const EXT4: Tool = Tool { names: &["mkfs.ext4"], package: "e2fsprogs" };
/// The database of the demo; Valkey speaks the same protocol.
pub const REDIS: Tool = Tool { names: &["redis-server", "valkey-server"], package: "redis-server" };

/// Debian keeps these out of an ordinary user's `PATH`, and cron and sudo out of root's.
const SYSTEM_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

impl Tool {
    /// Where it is.
    pub fn find(&self) -> Result<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> =
            std::env::split_paths(&path).chain(SYSTEM_PATHS.map(PathBuf::from)).collect();
        let found = self
            .names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|file| file.is_file());
        found.ok_or_else(|| {
            Error::precondition(format!(
                "{} is missing: install it (on Debian: apt-get install {})",
                self.names.join(" or "),
                self.package
            ))
        })
    }
}

/// Fails with one clear sentence unless the process is root and every tool is there.
pub fn check(tools: &[Tool]) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::precondition(
            "hosts in network namespaces need root: run it with sudo, or in a privileged container",
        ));
    }
    for tool in tools {
        tool.find()?;
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err(Error::precondition(
            "/dev/loop-control is missing: the kernel has no loop devices here (modprobe loop)",
        ));
    }
    Ok(())
}

/// Whether a test can run here. Without root it says that it is skipped, unless `STEAD_E2E=required`
/// says that a test which cannot run has failed.
pub fn met(tools: &[Tool]) -> Result<bool> {
    match check(tools) {
        Ok(()) => Ok(true),
        Err(error) if std::env::var_os("STEAD_E2E").is_some_and(|word| word == "required") => {
            Err(error)
        }
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let tool = Tool { names: &["no-such-tool", "nor-this"], package: "nothing" };
        let error = tool.find().unwrap_err().to_string();
        assert!(error.contains("no-such-tool or nor-this is missing"), "{error}");
        assert!(error.contains("apt-get install nothing"), "{error}");
    }

    #[test]
    fn the_first_installed_name_counts() {
        let tool = Tool { names: &["no-such-tool", "sh"], package: "dash" };
        assert!(tool.find().unwrap().ends_with("sh"));
    }
}
