//! Who is in the way: the processes that keep a mount or a device busy, for the error that says so.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::device;

/// How many processes an error names.
const NAMED_MAX: usize = 3;

/// How many processes are looked at: the answer is a help, not worth minutes.
const SCANNED_MAX: usize = 20_000;

/// The processes that use something below `path`.
pub fn of_path(path: &Path) -> String {
    let users = scan(|process| {
        let links = ["cwd", "root"].map(|name| process.join(name)).into_iter();
        links
            .chain(files(process))
            .any(|link| std::fs::read_link(link).is_ok_and(|place| place.starts_with(path)))
    });
    if users.is_empty() { "a mount below it, or the kernel itself".to_owned() } else { users }
}

/// The processes that have a block device open or see a file system on it mounted.
pub fn of_device(path: &Path) -> String {
    let number = device::number(path);
    let users = scan(|process| {
        let opened = files(process).any(|link| {
            std::fs::metadata(link)
                .is_ok_and(|file| Some(file.rdev()) == number && number.is_some())
        });
        opened || mounts(process, path)
    });
    if users.is_empty() { "the kernel itself".to_owned() } else { users }
}

fn mounts(process: &Path, device: &Path) -> bool {
    let source = format!(" {} ", device.display());
    std::fs::read_to_string(process.join("mountinfo")).is_ok_and(|text| text.contains(&source))
}

fn files(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(process.join("fd")).ok();
    entries.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

fn scan(mut uses: impl FnMut(&Path) -> bool) -> String {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").ok().into_iter().flatten().filter_map(Result::ok);
    let processes = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let named: Vec<String> = processes
        .take(SCANNED_MAX)
        .filter(|(pid, process)| *pid != own && uses(process))
        .take(NAMED_MAX)
        .map(|(pid, process)| {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        })
        .collect();
    named.join(", ")
}
