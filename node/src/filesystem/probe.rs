//! What a device holds, read and not guessed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{Content, superblock};
use crate::error::{NodeError, Result};

/// Where every format that we know leaves its first mark.
const START_BYTES: u64 = 2 << 20;

/// Where those that write at the end (GPT's copy, RAID metadata) leave theirs.
const END_BYTES: u64 = 1 << 20;

/// Reads what a device or an image holds. What cannot be read in full is an error: only bytes that
/// were seen to be zero prove anything blank.
pub fn probe(path: &Path) -> Result<Content> {
    let mut device = File::open(path).map_err(NodeError::io("open", path))?;
    let size = device.seek(SeekFrom::End(0)).map_err(NodeError::io("measure", path))?;
    if size == 0 {
        let empty = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it has no bytes");
        return Err(NodeError::io("probe", path)(empty));
    }
    let start = read(&mut device, path, 0, START_BYTES.min(size))?;
    if let Some(known) = superblock::read(&start) {
        return Ok(known);
    }
    let end = size.saturating_sub(END_BYTES);
    let end = read(&mut device, path, end, size - end)?;
    let blank = start.iter().chain(&end).all(|byte| *byte == 0);
    Ok(if blank { Content::Blank } else { Content::Unrecognised })
}

fn read(device: &mut File, path: &Path, offset: u64, length: u64) -> Result<Vec<u8>> {
    // At most `START_BYTES`, so it fits.
    let mut bytes = vec![0; length as usize];
    device
        .seek(SeekFrom::Start(offset))
        .and_then(|_| device.read_exact(&mut bytes))
        .map_err(NodeError::io("probe", path))?;
    Ok(bytes)
}
