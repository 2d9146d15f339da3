//! The driver's binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Where the binary is: `STEAD_BIN`, else beside this test, built at most once.
pub(crate) fn find() -> Result<PathBuf, String> {
    FOUND.get_or_init(search).clone()
}

fn search() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("STEAD_BIN") {
        let named = PathBuf::from(named);
        return match named.canonicalize() {
            Ok(path) => Ok(path),
            Err(error) => Err(format!("STEAD_BIN is {}: {error}", named.display())),
        };
    }
    // A test is TARGET/PROFILE/deps/NAME; what cargo builds beside it is TARGET/PROFILE/stead.
    let test = std::env::current_exe().map_err(|error| format!("who am I? {error}"))?;
    let profile = test.ancestors().nth(2).ok_or("the test lies in no target directory")?;
    let binary = profile.join("stead");
    if !binary.is_file() {
        build(profile)?;
    }
    if binary.is_file() { Ok(binary) } else { Err(format!("{} was not built", binary.display())) }
}

fn build(profile: &Path) -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--package", "stead"]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    command.arg("--target-dir").arg(profile.parent().unwrap_or(profile));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the driver does not build ({status}): name one in STEAD_BIN")),
        Err(error) => Err(format!("cargo could not be run: {error}")),
    }
}
