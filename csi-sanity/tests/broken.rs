//! A machine that is not as it should be: an error that says what to do, and nothing lost.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use stead_conformance::answer::{granted, refused};
use stead_conformance::ask::{self, MIB};
use stead_conformance::{Disk, Driver, Life, Setup, host};
use stead_proto::csi::v1::volume_capability::MountVolume;
use stead_proto::csi::v1::*;
use tonic::Code;

//= CSI "Error Scheme": a sentence for people; the disk of the pool is read-only.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_became_read_only_is_said_and_mends_itself() {
    let Some(disk) = Disk::create(96 * MIB) else { return };
    let Some(driver) = Setup::new().on(&disk).start().await else { return };
    let csi = driver.csi();
    let life = granted(Life::create(&driver, ask::create("one")).await);
    disk.readonly(true);
    let pool = disk.root().display().to_string();
    let made = csi.create(ask::create("two")).await;
    assert!(
        made.as_ref().is_err_and(|status| {
            matches!(status.code(), Code::Unavailable | Code::FailedPrecondition | Code::Internal)
                && status.message().contains(&pool)
                && status.message().to_lowercase().contains("read-only")
        }),
        "{made:?}"
    );
    assert!(life.publish().await.is_err());
    assert!(life.delete().await.is_err(), "a volume that could not be deleted was");
    disk.readonly(false);
    granted(csi.create(ask::create("two")).await);
    // The publish that failed may have done something, so it is taken back first (CSI
    // "ControllerPublishVolume"); what was begun is completed by its repeat.
    granted(life.unpublish().await);
    granted(life.delete().await);
    assert_eq!(granted(csi.volumes().await).len(), 1);
}

//= CSI "NodeStageVolume Errors": what is missing on the node is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_mkfs_is_named_with_its_package() {
    let folder = tempfile::tempdir().unwrap();
    // Without the network's tools the driver would not come up, so only those of file systems go.
    for tool in ["ip", "mount", "umount", "losetup", "nsenter", "setpriv", "env", "sh"] {
        for home in ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
            let file = std::path::Path::new(home).join(tool);
            if file.exists() {
                std::os::unix::fs::symlink(file, folder.path().join(tool)).unwrap();
                break;
            }
        }
    }
    let Some(driver) = Setup::new().variable("PATH", folder.path()).start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.publish().await);
    refused(life.stage().await, Code::FailedPrecondition, &["mkfs.ext4", "e2fsprogs"]);
    assert!(host::mount_at(&life.staging).is_none());
    std::os::unix::fs::symlink("/usr/sbin/mkfs.ext4", folder.path().join("mkfs.ext4")).unwrap();
    granted(life.stage().await);
    granted(life.node_publish().await);
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

//= CSI "NodeUnpublishVolume": a volume that is still in use is an error and never reported as released.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_mount_is_not_released_and_its_user_is_named() {
    let Some(driver) = Driver::start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.up().await);
    host::write(&life.target, "in use");
    let mut user = Command::new("sleep").arg("60").current_dir(&life.target).spawn().unwrap();
    // A bind mount is not the last one, so it goes or is refused; the file system stays in any case.
    let released = life.node_unpublish().await;
    let released = match released {
        Ok(()) => life.unstage().await,
        refusal => refusal,
    };
    let pid = user.id().to_string();
    let sentence = released.as_ref().err().map(|status| status.message().to_owned());
    user.kill().unwrap();
    user.wait().unwrap();
    assert!(
        sentence.as_ref().is_some_and(|s| s.contains("sleep") && s.contains(&pid)),
        "{released:?}"
    );
    let code = released.map_err(|status| status.code());
    assert_eq!(code, Err(Code::FailedPrecondition));
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}

/// A volume that was never staged, whose image somebody has written to.
async fn overwritten(driver: &Driver, name: &str, write: impl FnOnce(&std::path::Path)) -> Life {
    let request =
        CreateVolumeRequest { capacity_range: ask::sized(128 * MIB), ..ask::create(name) };
    let life = granted(Life::create(driver, request).await);
    let image = driver.pool().volumes().join(life.id()).join("image");
    write(&image);
    life
}

fn mkfs(program: &str, flag: &str) -> impl FnOnce(&std::path::Path) {
    move |image| {
        let status = Command::new(program).args(["-q", flag]).arg(image).status();
        assert!(status.is_ok_and(|status| status.success()), "{program}");
    }
}

//= CSI "NodeStageVolume": no path formats a device that has something on it, whatever is asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_blank_is_never_formatted() {
    let Some(driver) = Driver::start().await else { return };
    let garbage = |at: u64| {
        move |image: &std::path::Path| {
            let file = File::options().write(true).open(image).unwrap();
            file.write_all_at(b"not ours to lose", at).unwrap();
            file.sync_all().unwrap();
        }
    };
    let ext4 = ask::mount_with(MountVolume { fs_type: "ext4".to_owned(), ..Default::default() });
    for at in [0, 512, 4096, 65_536, 1 << 20, (128 << 20) - 4096] {
        let mut life = overwritten(&driver, &format!("garbage at {at}"), garbage(at)).await;
        life.capability = ext4.clone();
        let image = driver.pool().volumes().join(life.id()).join("image");
        let digest = |image: &std::path::Path| {
            let output = Command::new("sha256sum").arg(image).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let before = digest(&image);
        granted(life.publish().await);
        refused(life.stage().await, Code::FailedPrecondition, &[&life.id()]);
        assert_eq!(digest(&image), before, "the device was written to");
        assert!(host::mount_at(&life.staging).is_none());
        granted(life.unstage().await);
        granted(life.unpublish().await);
        granted(life.delete().await);
    }
    for (program, flag, found) in
        [("mkfs.btrfs", "-f", "btrfs"), ("mkfs.xfs", "-f", "xfs"), ("mkswap", "-f", "")]
    {
        // XFS wants 300 MiB and more unless told otherwise, so it stands for itself below.
        if program == "mkfs.xfs" {
            continue;
        }
        let write: Box<dyn FnOnce(&std::path::Path)> = if program == "mkswap" {
            Box::new(|image| {
                let status = Command::new("mkswap").arg(image).output().unwrap().status;
                assert!(status.success());
            })
        } else {
            Box::new(mkfs(program, flag))
        };
        let mut life = overwritten(&driver, program, write).await;
        life.capability = ext4.clone();
        granted(life.publish().await);
        refused(life.stage().await, Code::FailedPrecondition, &[&life.id(), found]);
        granted(life.unpublish().await);
    }
}

//= CSI "NodeStageVolume": a file system that was there once and is not any more is an error, not a reason
//= to make another.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_is_gone_is_not_made_again() {
    let Some(driver) = Driver::start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.up().await);
    granted(life.down().await);
    let image = driver.pool().volumes().join(life.id()).join("image");
    let file = File::options().write(true).open(image).unwrap();
    file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
    file.sync_all().unwrap();
    granted(life.publish().await);
    refused(life.stage().await, Code::Internal, &[&life.id(), "ext4"]);
    granted(life.unstage().await);
    granted(life.unpublish().await);
}

//= CSI "Error Scheme", on start: another process has the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_process_has_is_not_opened() {
    let Some(driver) = Driver::start().await else { return };
    granted(driver.csi().create(ask::create("one")).await);
    let refusal = driver.start_refused().await;
    assert!(refusal.code.is_some_and(|code| code != 0), "{refusal:?}");
    let sentence = refusal.said.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("stead: "), "{}", refusal.said);
    assert!(!refusal.said.contains("panicked"), "{}", refusal.said);
    assert_eq!(granted(driver.csi().volumes().await).len(), 1, "the first one was harmed");
}

//= CSI "Error Scheme", on start: a store that is damaged is left as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_damaged_is_left_alone() {
    let Some(driver) = Driver::start().await else { return };
    granted(driver.csi().create(ask::create("one")).await);
    assert_eq!(driver.terminate().await, Some(0));
    // The largest file in the state directory.
    let files = fs::read_dir(driver.state()).unwrap().flatten().map(|entry| entry.path());
    let file =
        files.filter(|path| path.is_file()).max_by_key(|path| path.metadata().unwrap().len());
    let file = file.unwrap();
    let whole = fs::read(&file).unwrap();
    let mut overwritten = whole.clone();
    overwritten[..64].fill(b'x');
    let damages = [overwritten, b"garbage".to_vec(), whole[..whole.len() / 2].to_vec()];
    for (number, damaged) in damages.into_iter().enumerate() {
        fs::write(&file, &damaged).unwrap();
        let refusal = driver.start_refused().await;
        assert!(refusal.code.is_some_and(|code| code != 0), "damage {number}: {refusal:?}");
        assert!(!refusal.said.contains("panicked"), "damage {number}: {}", refusal.said);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(refusal.said.contains(&name), "damage {number}: {}", refusal.said);
        assert!(fs::read(&file).unwrap() == damaged, "damage {number}: the file was touched");
    }
    fs::write(&file, &whole).unwrap();
    driver.start_process().await;
    assert_eq!(granted(driver.csi().volumes().await).len(), 1);
}

//= CSI "Packaging": the socket; one that answers is not taken away from whoever serves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_written_is_named() {
    let Some(disk) = Disk::create(32 * MIB) else { return };
    disk.readonly(true);
    let Some(driver) = Setup::new().on(&disk).prepare() else { return };
    let refusal = driver.start_refused().await;
    assert!(refusal.code.is_some_and(|code| code != 0), "{refusal:?}");
    assert!(refusal.said.contains(&disk.root().display().to_string()), "{}", refusal.said);
    assert!(!refusal.said.contains("panicked"), "{}", refusal.said);
    disk.readonly(false);
    // A directory with somebody's files is no pool and becomes none.
    fs::write(disk.root().join("somebody's"), "file").unwrap();
    let refusal = driver.start_refused().await;
    assert!(refusal.said.contains("somebody's"), "{}", refusal.said);
    fs::remove_file(disk.root().join("somebody's")).unwrap();
    driver.start_process().await;
    fs::set_permissions(driver.pool().volumes(), fs::Permissions::from_mode(0o700)).unwrap();
}

//= CSI "NodeUnstageVolume": with the image gone, what is left on the node can still be taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_whose_image_is_gone_can_be_taken_down() {
    let Some(driver) = Driver::start().await else { return };
    let life = granted(Life::create(&driver, ask::create("one")).await);
    granted(life.up().await);
    fs::remove_dir_all(driver.pool().volumes().join(life.id())).unwrap();
    granted(life.end().await);
    assert_eq!(driver.residue().await, Vec::<String>::new());
}
