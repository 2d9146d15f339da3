//! Serving: sockets, health, monitoring, and the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use stead_proto::csi::v1::node_client::NodeClient;
use stead_proto::csi::v1::{
    GetPluginInfoRequest, NodeGetInfoRequest, identity_client::IdentityClient,
};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::process::{Server, free_port, is_root, refused};

/// How long an idle process may take to end.
const END: Duration = Duration::from_secs(3);

async fn is_serving(server: &Server, service: &str) -> bool {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(server.channel()).check(request).await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

fn http(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_controller_serves_its_services_and_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("controller", dir.path(), &[]).await;
    for service in ["", "csi.v1.Identity", "csi.v1.Controller", "csi.v1.GroupController"] {
        assert!(is_serving(&server, service).await, "'{service}'");
    }
    assert!(!is_serving(&server, "csi.v1.Node").await);
    let mut identity = IdentityClient::new(server.channel());
    let info = identity.get_plugin_info(GetPluginInfoRequest {}).await.unwrap();
    assert_eq!(info.into_inner().name, "csi.stead.dev");
    let (status, took) = server.end(Signal::SIGTERM).await;
    assert!(status.success() && took < END, "{status} after {took:?}: {}", server.log());
}

#[tokio::test]
async fn the_whole_driver_runs_in_one_process() {
    if !is_root("the whole driver") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let more = ["--node-id", "n1", "--http-listen", &listen, "--log-format", "json"];
    let mut server = Server::start("all", dir.path(), &more).await;
    assert!(
        is_serving(&server, "csi.v1.Node").await && is_serving(&server, "csi.v1.Controller").await
    );
    let info =
        NodeClient::new(server.channel()).node_get_info(NodeGetInfoRequest {}).await.unwrap();
    assert_eq!(info.into_inner().node_id, "n1");
    // The lease is won a moment after the socket answers.
    for _ in 0..100 {
        if http(port, "/healthz").starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(http(port, "/healthz").starts_with("HTTP/1.1 200"), "{}", http(port, "/healthz"));
    let (status, took) = server.end(Signal::SIGINT).await;
    assert!(status.success() && took < END, "{status} after {took:?}");
    for line in server.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string());
    }
}

#[tokio::test]
async fn a_client_that_watches_does_not_hold_up_the_end() {
    use stead_proto::stead::v1::WatchRequest;
    use stead_proto::stead::v1::store_client::StoreClient;
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("controller", dir.path(), &[]).await;
    let channel = tonic::transport::Endpoint::from_shared(server.store.clone()).unwrap();
    let mut store = StoreClient::connect(channel).await.unwrap();
    let request = WatchRequest { prefix: String::new() };
    let mut changes = store.watch(request).await.unwrap().into_inner();
    let _ = changes.message().await.unwrap();
    let (status, took) = server.end(Signal::SIGTERM).await;
    assert!(status.success() && took < END, "{status} after {took:?}");
}

#[tokio::test]
async fn sockets_are_for_their_owner_alone_and_a_stale_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("controller", dir.path(), &[]).await;
    for socket in ["csi.sock", "state/store.sock"] {
        let mode = std::fs::metadata(dir.path().join(socket)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{socket}");
    }
    let state = std::fs::metadata(dir.path().join("state")).unwrap().permissions().mode();
    assert_eq!(state & 0o777, 0o700);
    let other = dir.path().join("other");
    let arguments = ["controller", "--endpoint", server.csi.to_str().unwrap(), "--state-dir"];
    let (code, said) = refused(&[&arguments[..], &[other.to_str().unwrap()]].concat());
    assert_eq!(code, 1);
    assert!(said.contains("another process answers"), "{said}");
    server.end(Signal::SIGKILL).await;
    drop(server);
    let mut server = Server::start("controller", dir.path(), &[]).await;
    assert!(server.end(Signal::SIGTERM).await.0.success());
}

#[tokio::test]
async fn monitoring_says_what_is_and_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let _server = Server::start("controller", dir.path(), &["--http-listen", &listen]).await;
    let metrics = http(port, "/metrics");
    assert!(metrics.contains("process_resident_memory_bytes "), "{metrics}");
    assert!(metrics.contains("stead_build_info{"), "{metrics}");
    assert!(http(port, "/healthz").ends_with("\r\n\r\nok\n"));
    assert!(http(port, "/").starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_node_without_a_store_says_so() {
    if !is_root("a node without a store") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut node = crate::process::stead(&["node", "--node-id", "n1", "--http-listen"])
        .arg(format!("127.0.0.1:{port}"))
        .args(["--endpoint", &path("csi.sock"), "--state-dir", &path("state")])
        .args(["--store", &path("store.sock")])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut answer = String::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            answer = http(port, "/healthz");
            break;
        }
    }
    let pid = nix::unistd::Pid::from_raw(node.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert!(node.wait().unwrap().success(), "it ends in order although no store ever answered");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("the store cannot be read"), "{answer}");
}
