//! A process that is killed at any point loses nothing that it was told is stored.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use stead_model::port::{IdentityStore, Key};

use super::open;

/// Where the child keeps its store; absent in an ordinary run.
const STATE: &str = "STEAD_TEST_STATE";

fn key(at: u64) -> Key {
    format!("a/{at}").parse().unwrap()
}

/// Stores until it is killed and says what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn the_child_that_is_killed() {
    let Ok(dir) = std::env::var(STATE) else { return };
    let store = open(Path::new(&dir)).await;
    let mut at = 0;
    while store.get(&key(at)).await.unwrap().is_some() {
        at += 1;
    }
    loop {
        store.create(&key(at), Bytes::from(at.to_string())).await.unwrap();
        println!("stored {at}");
        at += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut stored = None;
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "store::tests::crash::the_child_that_is_killed"])
            .env(STATE, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = 0;
        while told < 20 * round {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, at)) = line.split_once("stored ") {
                stored = Some(at.parse::<u64>().unwrap());
                told += 1;
            }
        }
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            let at = line.split_once("stored ").and_then(|(_, at)| at.parse().ok());
            stored = at.or(stored);
        }
        child.wait().unwrap();
        let store = open(dir.path()).await;
        for at in 0..=stored.unwrap() {
            let entry = store.get(&key(at)).await.unwrap().unwrap();
            assert_eq!(entry.value, at.to_string());
        }
    }
}
