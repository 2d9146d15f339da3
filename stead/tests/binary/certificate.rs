//! Certificates, and the store served by them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::process::{Server, free_port, out, refused};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_key_is_for_its_owner_alone_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, node) = (dir.path().join("ca"), dir.path().join("node"));
    let make = ["certificate", "ca", "--out", text(&ca)];
    out(&make);
    let issue =
        ["certificate", "issue", "--ca", text(&ca), "--name", "node-1", "--out", text(&node)];
    out(&issue);
    for key in [ca.join("ca.key"), node.join("tls.key")] {
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!node.join("ca.key").exists());
    let before = std::fs::read(ca.join("ca.key")).unwrap();
    for again in [&make[..], &issue[..]] {
        let (code, said) = refused(again);
        assert_eq!(code, 1);
        assert!(said.contains("is not replaced"), "{said}");
    }
    assert_eq!(std::fs::read(ca.join("ca.key")).unwrap(), before);
}

#[test]
fn without_an_authority_there_is_advice() {
    let dir = tempfile::tempdir().unwrap();
    let here = text(dir.path());
    let (code, said) =
        refused(&["certificate", "issue", "--ca", here, "--name", "n", "--out", here]);
    assert_eq!(code, 3);
    assert!(said.contains("stead certificate ca"), "{said}");
}

#[tokio::test]
async fn other_hosts_reach_the_store_by_their_certificates_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&dir.path().join(name)).to_owned();
    for authority in ["ca", "strangers-ca"] {
        out(&["certificate", "ca", "--out", &path(authority)]);
    }
    for (authority, host) in [("ca", "controller"), ("ca", "node"), ("strangers-ca", "stranger")] {
        let (ca, to) = (path(authority), path(host));
        let san = "127.0.0.1";
        out(&["certificate", "issue", "--ca", &ca, "--name", host, "--san", san, "--out", &to]);
    }
    let tls = |host: &str| {
        [("--tls-ca", "ca.crt"), ("--tls-cert", "tls.crt"), ("--tls-key", "tls.key")]
            .into_iter()
            .flat_map(|(option, file)| [option.to_owned(), path(&format!("{host}/{file}"))])
            .collect::<Vec<String>>()
    };
    let address = format!("127.0.0.1:{}", free_port());
    let mut more = vec!["--store-listen".to_owned(), address.clone()];
    more.extend(tls("controller"));
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let _server = Server::start("controller", dir.path(), &more).await;

    let store = format!("https://{address}");
    let mut get: Vec<String> = ["get", "members", "--store", &store].map(str::to_owned).into();
    let base = get.len();
    get.extend(tls("node"));
    out(&get.iter().map(String::as_str).collect::<Vec<_>>());
    get.truncate(base);
    get.extend(tls("stranger"));
    let (code, said) = refused(&get.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 4, "{said}");
}
