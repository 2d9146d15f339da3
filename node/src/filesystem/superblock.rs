//! Where each format leaves its mark, in a device's first two mebibytes.

use super::{Content, Filesystem, FsKind};

/// Marks of what is not ours: offset, bytes, and the words for it. Those of whole disks come last: a
/// boot sector's mark also stands in FAT and NTFS.
const FOREIGN: [(usize, &[u8], &str); 22] = [
    (4086, b"SWAPSPACE2", "swap space"),
    (4086, b"SWAP-SPACE", "swap space"),
    (4086, b"S1SUSPEND", "a hibernation image"),
    (65526, b"SWAPSPACE2", "swap space"),
    (0, b"LUKS\xba\xbe", "a LUKS container"),
    (16384, b"SKUL\xba\xbe", "a LUKS container"),
    (0, b"LABELONE", "an LVM physical volume"),
    (512, b"LABELONE", "an LVM physical volume"),
    (1024, b"LABELONE", "an LVM physical volume"),
    (1536, b"LABELONE", "an LVM physical volume"),
    (0, b"\xfc\x4e\x2b\xa9", "a member of a RAID array"),
    (4096, b"\xfc\x4e\x2b\xa9", "a member of a RAID array"),
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcache device"),
    (65600, b"\x34\xce\x5f\x52", "a reiserfs file system"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (0, b"hsqs", "a squashfs file system"),
    (1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (32769, b"CD001", "an ISO 9660 file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (512, b"EFI PART", "a partition table (GPT)"),
    (510, b"\x55\xaa", "a boot sector or partition table (MBR)"),
];

/// Reads the marks in the beginning of a device; none where there is no known one.
pub(super) fn read(start: &[u8]) -> Option<Content> {
    ext(start)
        .or_else(|| xfs(start))
        .or_else(|| btrfs(start))
        .or_else(|| FOREIGN.iter().find(|(at, mark, _)| has(start, *at, mark)).map(foreign))
}

fn foreign((_, _, what): &(usize, &[u8], &'static str)) -> Content {
    Content::Foreign(what)
}

fn has(start: &[u8], at: usize, mark: &[u8]) -> bool {
    start.get(at..at + mark.len()) == Some(mark)
}

fn bytes<const N: usize>(start: &[u8], at: usize) -> Option<[u8; N]> {
    start.get(at..at + N)?.try_into().ok()
}

fn le16(start: &[u8], at: usize) -> Option<u16> {
    bytes(start, at).map(u16::from_le_bytes)
}

fn le32(start: &[u8], at: usize) -> Option<u32> {
    bytes(start, at).map(u32::from_le_bytes)
}

/// `struct ext4_super_block` (Documentation/filesystems/ext4).
fn ext(start: &[u8]) -> Option<Content> {
    /// Features that ext3 has too: anything beyond makes it ext4.
    const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
    const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
    const NEEDS_RECOVERY: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    const BLOCKS_64BIT: u32 = 0x80;
    const VALID: u16 = 1;
    const ERRORS: u16 = 2;

    let base = 1024;
    if !has(start, base + 56, &[0x53, 0xef]) {
        return None;
    }
    let incompat = le32(start, base + 96)?;
    let ro_compat = le32(start, base + 100)?;
    if incompat & JOURNAL_DEVICE != 0 {
        return Some(Content::Foreign("the journal of an ext file system"));
    }
    if incompat & !EXT3_INCOMPAT == 0 && ro_compat & !EXT3_RO_COMPAT == 0 {
        return Some(Content::Foreign("an ext2 or ext3 file system"));
    }
    let high = if incompat & BLOCKS_64BIT != 0 { le32(start, base + 336)? } else { 0 };
    let blocks = u64::from(le32(start, base + 4)?) | u64::from(high) << 32;
    let block_bytes = 1024u64.checked_shl(le32(start, base + 24)?).unwrap_or(0);
    let state = le16(start, base + 58)?;
    let clean = state & VALID != 0 && state & ERRORS == 0 && incompat & NEEDS_RECOVERY == 0;
    let size = blocks.saturating_mul(block_bytes);
    Some(Content::Filesystem(Filesystem { kind: FsKind::Ext4, size, clean }))
}

/// `struct xfs_dsb`; its numbers are big-endian.
fn xfs(start: &[u8]) -> Option<Content> {
    if !has(start, 0, b"XFSB") {
        return None;
    }
    let block_bytes = u64::from(u32::from_be_bytes(bytes(start, 4)?));
    let blocks = u64::from_be_bytes(bytes(start, 8)?);
    let size = blocks.saturating_mul(block_bytes);
    Some(Content::Filesystem(Filesystem { kind: FsKind::Xfs, size, clean: true }))
}

/// `struct btrfs_super_block`, whose `dev_item` tells how much of this device it uses.
fn btrfs(start: &[u8]) -> Option<Content> {
    let base = 65536;
    if !has(start, base + 64, b"_BHRfS_M") {
        return None;
    }
    let size = bytes(start, base + 201 + 8).map(u64::from_le_bytes)?;
    Some(Content::Filesystem(Filesystem { kind: FsKind::Btrfs, size, clean: true }))
}
