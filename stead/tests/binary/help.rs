//! Help that teaches, and what is generated from it.

use crate::process::{out, run};

const COMMANDS: [&[&str]; 13] = [
    &[],
    &["controller"],
    &["node"],
    &["netagent"],
    &["all"],
    &["get"],
    &["certificate"],
    &["certificate", "ca"],
    &["certificate", "issue"],
    &["demo"],
    &["completions"],
    &["man"],
    &["version"],
];

#[test]
fn the_help_of_every_command_has_examples() {
    for command in COMMANDS {
        let help = out(&[command, &["--help"]].concat());
        assert!(help.contains("\nExamples:\n"), "{command:?}:\n{help}");
        let named = format!("  stead {}", command.join(" "));
        assert!(help.contains(named.trim_end()), "{command:?} is not in its examples");
    }
}

#[test]
fn the_exit_codes_are_documented() {
    for command in [&["--help"][..], &["get", "--help"]] {
        assert!(out(command).contains("Exit codes:"), "{command:?}");
    }
}

#[test]
fn an_option_from_the_environment_is_taken() {
    let output = crate::process::stead(&["get", "members"])
        .env("STEAD_STORE", "http://nowhere:1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("https://HOST:PORT"));
}

#[test]
fn nothing_to_do_shows_the_help() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: stead"));
}

#[test]
fn the_version_is_for_scripts_too() {
    let value: serde_json::Value = serde_json::from_str(&out(&["version", "-o", "json"])).unwrap();
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["csi"], "1.13.0");
    assert!(out(&["version"]).starts_with("stead "));
}

#[test]
fn each_shell_has_its_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&["completions", shell]);
        assert!(script.contains("netagent"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    out(&["man", "--out", dir.path().to_str().unwrap()]);
    for page in ["stead.1", "stead-all.1", "stead-get.1", "stead-certificate-issue.1"] {
        let text = std::fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(out(&["man"]).contains(".TH stead 1"));
}
