//! A small disk of its own, to be filled or broken.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::setup::machine_allows_it;
use crate::site::Site;

/// A file system on a loop device, mounted; it must outlive the driver that uses it.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    _site: Site,
}

impl Disk {
    /// A disk of this size; nothing where the machine does not allow it.
    pub fn create(bytes: i64) -> Option<Self> {
        Self::with(bytes, "mkfs.ext4", &["-q", "-m", "0"])
    }

    /// A disk whose file system copies in one step, so that volumes in use can be copied; not below
    /// 300 MiB.
    pub fn sharing(bytes: i64) -> Option<Self> {
        Self::with(bytes, "mkfs.xfs", &["-q", "-m", "reflink=1"])
    }

    fn with(bytes: i64, mkfs: &str, options: &[&str]) -> Option<Self> {
        if !machine_allows_it() {
            return None;
        }
        let site = Site::create();
        let (image, root) = (site.path().join("disk"), site.folder("pool"));
        run("truncate", &["--size".as_ref(), bytes.to_string().as_ref(), &image]);
        let options = options.iter().map(Path::new);
        run(mkfs, &options.chain([image.as_path()]).collect::<Vec<_>>());
        run("mount", &["-o".as_ref(), "loop".as_ref(), &image, &root]);
        Some(Self { root, _site: site })
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes it read-only, as the kernel does with one that fails, or writable again.
    pub fn readonly(&self, readonly: bool) {
        let how = if readonly { "remount,ro" } else { "remount,rw" };
        run("mount", &["-o".as_ref(), how.as_ref(), &self.root]);
    }
}

fn run(program: &str, arguments: &[&Path]) {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{program}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{program} cannot be run: {error}"),
    }
}
