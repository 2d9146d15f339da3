//! `stead get` against a running store.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use stead_model::hold::{Hold, Holder, Stage, Use};
use stead_model::name::{Epoch, Role, Term};
use stead_model::record::{HoldKey, HoldRecord, Member, member_key};
use stead_model::registry::Registry;
use stead_proto::store::RemoteStore;
use stead_proto::transport::{Address, connect};

use crate::process::{Server, out, refused, stead};

const KINDS: [&str; 6] = ["members", "services", "volumes", "nodes", "snapshots", "pools"];

fn registry(server: &Server) -> Registry {
    let socket = server.store.strip_prefix("unix://").unwrap();
    let channel = connect(&Address::Unix(socket.into()), None).unwrap();
    Registry::new(Arc::new(RemoteStore::new(channel)))
}

fn member(key: &str) -> Member {
    Member {
        id: key.parse().unwrap(),
        service: "mongo".parse().unwrap(),
        dns_name: "mongo-0.prod.stead.internal".parse().unwrap(),
        addresses: vec!["10.0.0.7".parse().unwrap()],
        pool: None,
        volumes: BTreeMap::from([(Role::primary(), "vol-1".parse().unwrap())]),
    }
}

fn hold(key: &str, node: &str) -> HoldRecord {
    let usage = Use { stage: Stage::Published, readonly: false, access: String::new() };
    let volumes = BTreeMap::from([("vol-1".parse().unwrap(), usage)]);
    let holder = Holder { node: node.parse().unwrap(), epoch: Epoch(1), volumes };
    HoldRecord {
        of: HoldKey::Member(key.parse().unwrap()),
        hold: Hold { term: Term(4), holder: Some(holder), ..Hold::default() },
    }
}

fn get(server: &Server, arguments: &[&str]) -> String {
    out(&[&["get", "--store", &server.store], arguments].concat())
}

#[tokio::test]
async fn an_empty_store_is_an_empty_list() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("controller", dir.path(), &[]).await;
    for kind in KINDS {
        let list: Value = serde_json::from_str(&get(&server, &[kind, "-o", "json"])).unwrap();
        assert_eq!(list, Value::Array(Vec::new()), "{kind}");
        assert_eq!(get(&server, &[kind]).lines().count(), 1, "{kind}: the headings");
    }
}

#[tokio::test]
async fn a_member_is_shown_with_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("controller", dir.path(), &[]).await;
    let registry = registry(&server);
    registry.create(member("prod/mongo-0")).await.unwrap();
    registry.create(hold("prod/mongo-0", "node-1")).await.unwrap();
    registry.create(member("test/mongo-0")).await.unwrap();

    let table = get(&server, &["members", "--cluster", "prod"]);
    let cells: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "mongo-0",
            "mongo",
            "node-1",
            "4",
            "published",
            "10.0.0.7",
            "mongo-0.prod.stead.internal",
            "data=vol-1"
        ]
    );
    let one = get(&server, &["member", "mongo-0", "--cluster", "prod", "-o", "json"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["holder"]["node"], "node-1");
    assert_eq!(one["volumes"]["data"], "vol-1");
    assert!(get(&server, &["members", "-o", "yaml"]).starts_with("- "));
    assert!(get(&server, &["members", "-o", "wide"]).contains("CLUSTER"));

    let base = ["get", "--store", &server.store, "members"];
    let (code, said) = refused(&[&base[..], &["mongo-9"]].concat());
    assert_eq!(code, 3, "{said}");
    let (code, said) = refused(&[&base[..], &["mongo-0"]].concat());
    assert_eq!(code, 2);
    assert!(said.contains("--cluster"), "{said}");
}

#[tokio::test]
async fn a_watch_prints_what_changes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("controller", dir.path(), &[]).await;
    let registry = registry(&server);
    registry.create(member("prod/mongo-0")).await.unwrap();
    let mut watch = stead(&["get", "members", "--watch", "-o", "json", "--store", &server.store])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = move || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let (first, mut next) = tokio::task::spawn_blocking(move || (next(), next)).await.unwrap();
    assert_eq!((&first["event"], &first["object"]["holder"]), (&"put".into(), &Value::Null));

    registry.create(hold("prod/mongo-0", "node-1")).await.unwrap();
    let (held, next) = tokio::task::spawn_blocking(move || (next(), next)).await.unwrap();
    assert_eq!(held["object"]["holder"]["node"], "node-1");

    registry.remove_key(&member_key(&"prod/mongo-0".parse().unwrap())).await.unwrap();
    let gone = tokio::task::spawn_blocking(next).await.unwrap();
    assert_eq!(gone["event"], "deleted");
    watch.kill().unwrap();
    watch.wait().unwrap();
}
