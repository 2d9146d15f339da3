//! What is on a device, and that nothing which may be data is ever formatted.
#![allow(missing_docs, clippy::unwrap_used)]

mod rig;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rig::{How, MIB, Rig, root};
use stead_model::hold::Stage;
use stead_model::orchestrator::Orchestrator;
use stead_model::record::Format;
use stead_node::filesystem::probe::probe;
use stead_node::filesystem::{Content, FsKind};
use tonic::Code;

fn image(path: &Path, bytes: u64) -> File {
    let file = File::options().create(true).truncate(true).write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
    file
}

fn make(program: &str, arguments: &[&str], image: &Path) {
    let made = Command::new(program).args(arguments).arg(image).output().unwrap();
    assert!(made.status.success(), "{program}: {}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn real_file_systems_are_recognised_with_their_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for (program, kind) in
        [("mkfs.ext4", FsKind::Ext4), ("mkfs.xfs", FsKind::Xfs), ("mkfs.btrfs", FsKind::Btrfs)]
    {
        image(&path, 320 * MIB);
        make(program, &["-q"], &path);
        let Content::Filesystem(found) = probe(&path).unwrap() else { panic!("{program}") };
        assert_eq!((found.kind, found.size, found.clean), (kind, 320 * MIB, true), "{program}");
    }
}

#[test]
fn what_is_not_ours_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for (program, words) in
        [("mkfs.ext3", "ext2 or ext3"), ("mkfs.ext2", "ext2"), ("mkswap", "swap")]
    {
        image(&path, 64 * MIB);
        make(program, &[], &path);
        assert!(probe(&path).unwrap().to_string().contains(words), "{program}");
    }
    for (offset, mark, words) in [
        (0, &b"LUKS\xba\xbe\0\x02"[..], "LUKS"),
        (512, b"LABELONE", "LVM"),
        (512, b"EFI PART", "GPT"),
        (510, b"\x55\xaa", "MBR"),
    ] {
        image(&path, 4 * MIB).write_all_at(mark, offset).unwrap();
        assert!(probe(&path).unwrap().to_string().contains(words), "{words}");
    }
}

#[test]
fn blank_is_only_what_was_read_and_is_zero() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for bytes in [1, 4096, 3 * MIB, 64 * MIB] {
        image(&path, bytes);
        assert_eq!(probe(&path).unwrap(), Content::Blank, "{bytes}");
        for offset in [0, bytes / 2, bytes - 1] {
            image(&path, bytes).write_all_at(b"x", offset).unwrap();
            let seen = offset < 2 * MIB || offset >= bytes - MIB;
            assert_eq!(probe(&path).unwrap() == Content::Unrecognised, seen, "{bytes} {offset}");
        }
    }
    image(&path, 0);
    assert!(probe(&path).is_err(), "nothing was read");
    assert!(probe(&directory.path().join("absent")).is_err());
    assert!(probe(directory.path()).is_err(), "a directory cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_content_is_never_formatted() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let how = How::fs("ext4");
    for mark in [&b"LUKS\xba\xbe"[..], b"some old data"] {
        let id = rig.volume(16 * MIB, None).await;
        let file = File::options().write(true).open(rig.image(&id)).unwrap();
        file.write_all_at(mark, 0).unwrap();
        for format in [Format::Never, Format::Done("ext4".into()), Format::Done("xfs".into())] {
            rig.set_format(&id, format.clone()).await;
            let error = rig.stage(&id, &how).await.unwrap_err();
            let expected =
                if format == Format::Never { Code::FailedPrecondition } else { Code::Internal };
            assert_eq!(error.code(), expected, "{error}");
            assert_eq!(&fs::read(rig.image(&id)).unwrap()[..mark.len()], mark);
            assert_eq!(rig.record(&id).await.format, format);
            assert_eq!(rig.devices(&id), 0, "a device was left behind");
            // The controller may give it to another node: nobody will unstage what was never staged.
            assert_eq!(rig.reached(&id).await, Some(Stage::Attached));
        }
    }
    // A volume that had a file system and is blank now lost something: a person has to look.
    let id = rig.volume(16 * MIB, None).await;
    rig.set_format(&id, Format::Done("ext4".into())).await;
    assert_eq!(rig.stage(&id, &how).await.unwrap_err().code(), Code::Internal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_is_there_is_adopted_and_not_replaced() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    make("mkfs.ext4", &["-q", "-L", "brought"], &rig.image(&id));
    let error = rig.stage(&id, &How::fs("xfs")).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert_eq!(rig.record(&id).await.format, Format::Never);
    rig.stage(&id, &How::fs("")).await.unwrap();
    assert_eq!(rig.record(&id).await.format, Format::Done("ext4".into()));
    let superblock = fs::read(rig.image(&id)).unwrap();
    assert_eq!(&superblock[1024 + 120..1024 + 127], b"brought");
    assert!(rig.path("staging/lost+found").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_format_is_made_again() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    make("mkfs.ext4", &["-q"], &rig.image(&id));
    // Half of it is gone: what an interrupted mkfs leaves.
    let file = File::options().write(true).open(rig.image(&id)).unwrap();
    file.write_all_at(&[0; 4096], 0).unwrap();
    assert_eq!(
        rig.stage(&id, &How::fs("ext4")).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    rig.set_format(&id, Format::Begun("ext4".into())).await;
    rig.stage(&id, &How::fs("ext4")).await.unwrap();
    assert_eq!(rig.record(&id).await.format, Format::Done("ext4".into()));

    let id = rig.volume(16 * MIB, None).await;
    File::options()
        .write(true)
        .open(rig.image(&id))
        .unwrap()
        .write_all_at(b"LUKS\xba\xbe", 0)
        .unwrap();
    rig.set_format(&id, Format::Begun("ext4".into())).await;
    assert_eq!(
        rig.stage(&id, &How::fs("ext4")).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_workload_wrote_to_the_device_itself_is_never_formatted() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    // A format that failed leaves it begun; and data may lie where no probe looks.
    for (format, at) in [(Format::Begun("ext4".into()), 0), (Format::Never, 8 * MIB)] {
        let id = rig.volume(16 * MIB, None).await;
        rig.set_format(&id, format).await;
        rig.stage(&id, &How::block()).await.unwrap();
        rig.publish(&id, "pod/device", &How::block()).await.unwrap();
        let device = File::options().write(true).open(rig.path("pod/device")).unwrap();
        device.write_all_at(b"kept", at).unwrap();
        device.sync_all().unwrap();
        drop(device);
        rig.unpublish(&id, "pod/device").await.unwrap();
        rig.unstage(&id).await.unwrap();
        let error = rig.stage(&id, &How::fs("ext4")).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert_eq!(&fs::read(rig.image(&id)).unwrap()[at as usize..][..4], b"kept");
        assert_eq!(rig.record(&id).await.format, Format::Raw);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_superblock_flag_gets_a_check_before_the_mount() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::Kubernetes).await;
    let id = rig.volume(64 * MIB, None).await;
    make("mkfs.ext4", &["-q", "-O", "^metadata_csum"], &rig.image(&id));
    let file = File::options().read(true).write(true).open(rig.image(&id)).unwrap();
    // s_state: errors were seen.
    file.write_all_at(&2u16.to_le_bytes(), 1024 + 58).unwrap();
    rig.stage(&id, &How::fs("ext4")).await.unwrap();
    rig.unstage(&id).await.unwrap();
    let Content::Filesystem(found) = probe(&rig.image(&id)).unwrap() else { panic!() };
    assert!(found.clean);
}
