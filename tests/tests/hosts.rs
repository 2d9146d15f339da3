//! The rig itself: hosts reach each other, and a power cut leaves nothing.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stead_rig::folder::Folder;
use stead_rig::host::Network;
use stead_rig::{loops, need};

#[tokio::test(flavor = "multi_thread")]
async fn hosts_reach_each_other_until_a_cable_is_pulled() {
    if !need::met(&[need::IP]).unwrap() {
        return;
    }
    let network = Network::create().unwrap();
    let one = network.host("one", 1).unwrap();
    let two = network.host("two", 2).unwrap();
    let second = Duration::from_secs(1);
    for address in [two.v4(), two.v6()] {
        let to = SocketAddr::new(address, 7000);
        let listener = two.in_network(|| TcpListener::bind(to)).unwrap().unwrap();
        let connect = |patience| one.in_network(|| TcpStream::connect_timeout(&to, patience));
        connect(2 * second).unwrap().unwrap();
        two.plug(false).unwrap();
        connect(second / 2).unwrap().unwrap_err();
        two.plug(true).unwrap();
        connect(5 * second).unwrap().unwrap();
        drop(listener);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_what_was_not_synced_and_leaves_nothing() {
    if !need::met(&[need::IP, need::EXT4, need::LOSETUP]).unwrap() {
        return;
    }
    let folder = Folder::create().unwrap();
    let disk = folder.path().join("disk.img");
    let target = folder.folder("mnt").unwrap();
    std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let network = Network::create().unwrap();
    let mount = format!(
        "set -e; mkfs.ext4 -q {disk}; mount -o loop {disk} {target}",
        disk = disk.display(),
        target = target.display()
    );
    let write = format!(
        "set -e; cd {}; echo kept > synced; sync synced; echo lost > unsynced; exec sleep 1000",
        target.display()
    );
    let one = network.host("one", 1).unwrap();
    one.run("sh", &["-c", &mount]).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &write]).stdin(Stdio::null());
    let writer = one.spawn("writer", command).unwrap();
    let seen = one.path(&target.join("unsynced"));
    while !seen.metadata().is_ok_and(|file| file.len() > 0) {
        assert!(writer.ended().unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(loops::below(folder.path()).unwrap().len(), 1);
    one.power_off(folder.path(), &[]).await.unwrap();
    assert!(writer.ended().unwrap().is_some());
    assert_eq!(loops::below(folder.path()).unwrap(), []);

    let two = network.host("two", 2).unwrap();
    two.run("mount", &["-o", "loop", disk.to_str().unwrap(), target.to_str().unwrap()]).unwrap();
    let read = |name: &str| std::fs::read_to_string(two.path(&target.join(name)));
    assert_eq!(read("synced").unwrap(), "kept\n");
    assert!(!read("unsynced").is_ok_and(|text| text == "lost\n"));
    drop(two);
    assert!(!Path::new(&target).join("synced").exists());
}
