//! What the kernel says, whatever a driver says.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use stead_rig::loops::{self, Loop};

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: String,
    /// Where.
    pub target: PathBuf,
    /// The file system.
    pub kind: String,
    /// Its options, those of the mount and those of the file system.
    pub options: Vec<String>,
}

impl Mount {
    /// A line of `/proc/PID/mountinfo` (proc(5)).
    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(4);
        let target = PathBuf::from(front.next()?.replace("\\040", " "));
        let own = front.next()?;
        let mut back = back.split(' ');
        let (kind, source) = (back.next()?.to_owned(), back.next()?.to_owned());
        let options = own.split(',').chain(back.next()?.split(',')).map(str::to_owned).collect();
        Some(Self { source, target, kind, options })
    }
}

/// The mounts in a folder, in the order in which they were made.
pub fn mounts_below(folder: &Path) -> Vec<Mount> {
    let table = match fs::read_to_string("/proc/self/mountinfo") {
        Ok(table) => table,
        Err(error) => panic!("/proc/self/mountinfo cannot be read: {error}"),
    };
    table.lines().filter_map(Mount::parse).filter(|m| m.target.starts_with(folder)).collect()
}

/// The last mount at a path.
pub fn mount_at(target: &Path) -> Option<Mount> {
    mounts_below(target).into_iter().rfind(|mount| mount.target == target)
}

/// The loop devices whose file lies in a folder.
pub fn loops_below(folder: &Path) -> Vec<Loop> {
    match loops::below(folder) {
        Ok(found) => found,
        Err(error) => panic!("{}", error.chain()),
    }
}

/// The names in a folder; none where there is no such folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Writes to a volume where the workload has it, and sees to it that it is on the disk: a file in a
/// directory, or the start of a device.
pub fn try_write(target: &Path, text: &str) -> std::io::Result<()> {
    let device = target.metadata()?.file_type().is_block_device();
    let mut file = if device {
        File::options().write(true).open(target)?
    } else {
        File::create(target.join("data"))?
    };
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Writes as [`try_write`] does, where that has to succeed.
#[track_caller]
pub fn write(target: &Path, text: &str) {
    if let Err(error) = try_write(target, text) {
        panic!("{} cannot be written: {error}", target.display());
    }
}

/// Reads as much of what [`write`] wrote as this text is long.
#[track_caller]
pub fn read(target: &Path, text: &str) -> String {
    match try_read(target, text.len()) {
        Ok(read) => read,
        Err(error) => panic!("{} cannot be read: {error}", target.display()),
    }
}

fn try_read(target: &Path, bytes: usize) -> std::io::Result<String> {
    let device = target.metadata()?.file_type().is_block_device();
    let mut file = File::open(if device { target.to_owned() } else { target.join("data") })?;
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; bytes];
    file.read_exact(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}

/// The size of the file system at a path, in bytes.
pub fn filesystem_bytes(path: &Path) -> i64 {
    match nix::sys::statvfs::statvfs(path) {
        Ok(stat) => (stat.blocks() * stat.fragment_size()).cast_signed(),
        Err(error) => panic!("{} cannot be measured: {error}", path.display()),
    }
}

/// What can be had of the file system at a path without privileges, in bytes.
pub fn available_bytes(path: &Path) -> i64 {
    match nix::sys::statvfs::statvfs(path) {
        Ok(stat) => (stat.blocks_available() * stat.fragment_size()).cast_signed(),
        Err(error) => panic!("{} cannot be measured: {error}", path.display()),
    }
}

/// The file systems, each with a size from which it can grow: the kernel never grows Btrfs to less
/// than 256 MiB.
pub const GROWING: [(&str, i64); 3] =
    [("btrfs", 256 << 20), ("xfs", 320 << 20), ("ext4", 16 << 20)];

/// Those of [`GROWING`] that can grow here while they are mounted: ext4 only for CAP_SYS_RESOURCE,
/// which not every root has.
pub fn growing_mounted() -> Vec<(&'static str, i64)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default();
    let mut growing = GROWING.to_vec();
    if set & (1 << CAP_SYS_RESOURCE) == 0 {
        // Not `eprintln!`, which a passing test swallows.
        let _ = writeln!(std::io::stderr(), "\nSKIPPED for ext4: growing needs CAP_SYS_RESOURCE");
        growing.retain(|(kind, _)| *kind != "ext4");
    }
    growing
}

/// The number of the capability (capabilities(7), linux/capability.h).
const CAP_SYS_RESOURCE: u32 = 24;

/// The size of a block device, in bytes.
pub fn device_bytes(path: &Path) -> i64 {
    match File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0))) {
        Ok(size) => size.cast_signed(),
        Err(error) => panic!("{} cannot be measured: {error}", path.display()),
    }
}
