//! The kernel's mount table, `/proc/self/mountinfo` (proc(5)).
//!
//! Read here and not by a crate, because that must undo the kernel's escapes of blanks in paths, and
//! must not fail as a whole for one line it does not understand.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::device;
use crate::error::{NodeError, Result};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub path: PathBuf,
    /// Of what, below the file system's root.
    pub root: PathBuf,
    /// The file system's source, such as `/dev/loop0`.
    pub source: PathBuf,
    /// The file system's type.
    pub fs_type: String,
    /// Whether this mount point refuses writes.
    pub readonly: bool,
    /// Whether the whole file system does, as after an error.
    pub super_readonly: bool,
}

impl Mount {
    /// A node of the block device that is seen here: the file system's, or the one that was
    /// bind-mounted as such.
    pub fn device_node(&self) -> &Path {
        if self.fs_type == "devtmpfs" || self.fs_type == "tmpfs" {
            return &self.path;
        }
        &self.source
    }

    /// The number of that device.
    pub fn device(&self) -> Option<u64> {
        let node = self.device_node();
        // Such as `proc`: not a path, and not to be looked for in the working directory.
        if node.is_absolute() { device::number(node) } else { None }
    }
}

/// Every mount that this process sees.
pub fn read() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(path).map_err(NodeError::io("read", path))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// What is mounted at `path`, the topmost where there are several.
pub fn at(path: &Path) -> Result<Option<Mount>> {
    Ok(read()?.into_iter().rev().find(|mount| mount.path == path))
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = path(fields.nth(3)?);
    let mount_point = path(fields.next()?);
    let options = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let fs_type = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = path(fields.next()?);
    let super_options = fields.next().unwrap_or_default();
    let (readonly, super_readonly) = (has_ro(options), has_ro(super_options));
    Some(Mount { path: mount_point, root, source, fs_type, readonly, super_readonly })
}

fn has_ro(options: &[u8]) -> bool {
    options.split(|byte| *byte == b',').any(|word| word == b"ro")
}

/// Undoes the escapes of blanks and backslashes: a backslash and three octal digits.
fn path(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_escapes_and_optional_fields() {
        let line = br"36 35 98:0 /a\040b /mnt/c\134d ro,noatime shared:1 master:2 - ext4 /dev/loop3 rw,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!(mount.root, Path::new("/a b"));
        assert_eq!(mount.path, Path::new(r"/mnt/c\d"));
        assert_eq!(mount.source, Path::new("/dev/loop3"));
        assert_eq!((mount.readonly, mount.super_readonly), (true, false));
        assert!(parse(b"nonsense").is_none());
    }
}
