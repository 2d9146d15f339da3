//! The whole story of `stead demo`, once.

use std::process::Command;

use stead_rig::demo::Report;
use stead_rig::{driver, need};

#[test]
fn demo_moves_a_member() {
    let tools = [need::IP, need::MOUNT, need::LOSETUP, need::EXT4, need::REDIS];
    if !need::met(&tools).unwrap() {
        return;
    }
    let binary = driver::built().unwrap();
    let mut command = Command::new(&binary);
    let output = command.args(["demo", "-o", "json"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    println!("{report}");
    assert_eq!((report.moves, report.lost_writes), (2, 0), "{told}");
    assert_eq!(report.addresses.len(), 1, "{told}");
    assert!(report.acknowledged_writes > 100, "{told}");
    // The lease of 5 s and the grace of 1 s, and generously what a loaded machine needs on top.
    assert!(report.planned_gap_ms < 5_000, "{told}");
    assert!(report.longest_gap_ms < 15_000, "{told}");
}
