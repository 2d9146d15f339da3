//! The control calls of loop and block devices (linux/loop.h, linux/fs.h): all the unsafe code there is.
#![allow(unsafe_code)]

use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

pub(super) const READ_ONLY: u32 = 1;
pub(super) const AUTOCLEAR: u32 = 4;
pub(super) const DIRECT_IO: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Info {
    pub(super) device: u64,
    pub(super) inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    pub(super) flags: u32,
    pub(super) file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Info {
    pub(super) fn new(flags: u32, file_name: [u8; 64]) -> Self {
        Self { flags, file_name, ..Self::ZERO }
    }

    const ZERO: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

/// `struct loop_config`.
#[repr(C)]
struct Setup {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Setup>() == 304);

mod raw {
    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
    nix::ioctl_none_bad!(loop_clr_fd, 0x4C01);
    nix::ioctl_none_bad!(loop_set_capacity, 0x4C07);
    nix::ioctl_read_bad!(loop_get_status64, 0x4C05, super::Info);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, super::Setup);
    nix::ioctl_read!(blk_get_size64, 0x12, 114, usize);
}

/// The number of a free loop device; another process may take it before us.
pub(super) fn get_free(control: BorrowedFd<'_>) -> nix::Result<u32> {
    // SAFETY: the call takes no argument and the descriptor is open for its duration.
    let number = unsafe { raw::loop_ctl_get_free(control.as_raw_fd()) }?;
    u32::try_from(number).map_err(|_| Errno::EINVAL)
}

/// Puts a file behind a free loop device, all settings at once.
pub(super) fn configure(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    block_size: u32,
    info: Info,
) -> nix::Result<()> {
    let fd: RawFd = file.as_raw_fd();
    let fd = u32::try_from(fd).map_err(|_| Errno::EBADF)?;
    let setup = Setup { fd, block_size, info, reserved: [0; 8] };
    // SAFETY: the kernel only reads a `struct loop_config`, whose layout `Setup` has (asserted above),
    // and both descriptors are open for the duration of the call.
    unsafe { raw::loop_configure(device.as_raw_fd(), &setup) }.map(drop)
}

/// What is behind a loop device; `ENXIO` where nothing is.
pub(super) fn status(device: BorrowedFd<'_>) -> nix::Result<Info> {
    let mut info = Info::ZERO;
    // SAFETY: the kernel writes a `struct loop_info64`, whose layout `Info` has (asserted above), into
    // a live value; every bit pattern is valid for its fields.
    unsafe { raw::loop_get_status64(device.as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// Takes the file away. With other openers the kernel postpones that and still reports success.
pub(super) fn clear(device: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the call takes no argument and the descriptor is open for its duration.
    unsafe { raw::loop_clr_fd(device.as_raw_fd()) }.map(drop)
}

/// Makes the device as large as its file is now.
pub(super) fn set_capacity(device: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the call takes no argument and the descriptor is open for its duration.
    unsafe { raw::loop_set_capacity(device.as_raw_fd()) }.map(drop)
}

/// The size of a block device in bytes.
pub fn size(device: impl AsFd) -> nix::Result<u64> {
    let mut bytes: usize = 0;
    // `BLKGETSIZE64` is declared with `size_t` and writes 64 bits: the same on every 64-bit target.
    const _: () = assert!(size_of::<usize>() == size_of::<u64>());
    // SAFETY: the kernel writes one 64-bit number into a live value of that size (asserted above).
    unsafe { raw::blk_get_size64(device.as_fd().as_raw_fd(), &mut bytes) }?;
    Ok(bytes as u64)
}
