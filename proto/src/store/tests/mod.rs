//! The contract over both transports, and what a lost connection comes to.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use stead_model::clock::{BootClock, Clock};
use stead_model::port::{IdentityStore, Key, MemoryStore, contract};
use stead_model::{Error, Kind};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::service::Routes;

use super::{RemoteStore, StoreService};
use crate::certificate::{KeyedCertificate, Validity, generate_ca, issue};
use crate::tls::{Tls, TlsFiles};
use crate::transport::{Address, connect, listen};

fn validity(lasts: Duration) -> Validity {
    Validity { now: BootClock.wall(), lasts }
}

fn authority() -> KeyedCertificate {
    generate_ca(validity(Duration::from_secs(3600))).unwrap()
}

fn certified(ca: &KeyedCertificate, trusted: &KeyedCertificate, valid: Validity) -> Tls {
    let names = ["127.0.0.1".to_owned(), "::1".to_owned()];
    let own = issue(&ca.key, &"node-a".parse().unwrap(), &names, valid).unwrap();
    Tls::from_pem(&trusted.certificate, &own.certificate, &own.key)
}

fn tls(ca: &KeyedCertificate) -> Tls {
    certified(ca, ca, validity(Duration::from_secs(600)))
}

/// A server that dies with all its connections when it is dropped.
struct Served {
    address: Address,
    host: Option<Runtime>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.host.take().unwrap().shutdown_background();
    }
}

fn loopback() -> Address {
    Address::Tcp("127.0.0.1:0".to_owned())
}

async fn serve(address: &Address, tls: Option<&Tls>) -> (Served, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let host = Runtime::new().unwrap();
    let (wanted, tls) = (address.clone(), tls.cloned());
    let bound = host.spawn(async move { listen(&wanted, tls.as_ref()).await });
    let listener = bound.await.unwrap().unwrap();
    let address = listener.address().clone();
    let routes = Routes::new(StoreService::new(store.clone()).into_server());
    host.spawn(listener.serve(routes, std::future::pending()));
    (Served { address, host: Some(host) }, store)
}

fn remote(served: &Served, tls: Option<&Tls>) -> RemoteStore {
    RemoteStore::new(connect(&served.address, tls).unwrap())
}

async fn outcome(store: &RemoteStore) -> Result<(), Error> {
    store.get(&"a".parse::<Key>().unwrap()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_keeps_the_contract() {
    let kept = Mutex::new(Vec::new());
    contract::store::all(async || {
        let dir: TempDir = tempfile::tempdir().unwrap();
        let (served, _) = serve(&Address::Unix(dir.path().join("s")), None).await;
        let remote = remote(&served, None);
        kept.lock().unwrap().push((dir, served));
        remote
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_with_tls_keeps_the_contract() {
    let kept = Mutex::new(Vec::new());
    let tls = tls(&authority());
    contract::store::all(async || {
        let (served, _) = serve(&loopback(), Some(&tls)).await;
        let remote = remote(&served, Some(&tls));
        kept.lock().unwrap().push(served);
        remote
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_without_tls_is_refused_at_both_ends() {
    for text in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let address = Address::Tcp(text.to_owned());
        let listening = listen(&address, None).await.err().unwrap();
        let connecting = connect(&address, None).err().unwrap();
        for error in [listening, connecting] {
            assert_eq!(error.kind(), Kind::Precondition);
            assert!(error.to_string().contains("needs TLS"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_valid_certificate_of_the_same_authority_gets_in() {
    let (ours, theirs) = (authority(), authority());
    let hour = Duration::from_secs(3600);
    let good = tls(&ours);
    let (served, _) = serve(&loopback(), Some(&good)).await;
    outcome(&remote(&served, Some(&good))).await.unwrap();
    let stranger = certified(&theirs, &ours, validity(hour));
    let distrustful = certified(&ours, &theirs, validity(hour));
    let long_ago = Validity { now: SystemTime::UNIX_EPOCH + hour * 24 * 365, lasts: hour };
    let expired = certified(&ours, &ours, long_ago);
    for bad in [stranger, distrustful, expired] {
        let error = outcome(&remote(&served, Some(&bad))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain());
    }
    // A client without any certificate.
    let Address::Tcp(tcp) = &served.address else { panic!("not TCP") };
    let anonymous = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(&ours.certificate));
    let endpoint = tonic::transport::Channel::from_shared(format!("https://{tcp}")).unwrap();
    let channel = endpoint.tls_config(anonymous).unwrap().connect_lazy();
    assert!(outcome(&RemoteStore::new(channel)).await.is_err());
    let plain = tonic::transport::Channel::from_shared(format!("http://{tcp}")).unwrap();
    assert!(outcome(&RemoteStore::new(plain.connect_lazy())).await.is_err());
    outcome(&remote(&served, Some(&good))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_unavailable_and_ends_the_watch() {
    let dir = tempfile::tempdir().unwrap();
    let address = Address::Unix(dir.path().join("s"));
    let (served, _) = serve(&address, None).await;
    let remote = remote(&served, None);
    let mut changes = remote.watch("").await.unwrap();
    drop(served);
    assert_eq!(changes.next().await.unwrap().unwrap_err().kind(), Kind::Unavailable);
    assert!(changes.next().await.is_none());
    assert_eq!(outcome(&remote).await.unwrap_err().kind(), Kind::Unavailable);
    // It is found again without a new channel.
    let (_served, _) = serve(&address, None).await;
    outcome(&remote).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_lets_what_is_under_way_finish() {
    let dir = tempfile::tempdir().unwrap();
    let address = Address::Unix(dir.path().join("s"));
    let listener = listen(&address, None).await.unwrap();
    let store = Arc::new(MemoryStore::new());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let routes = Routes::new(StoreService::new(store.clone()).into_server());
    let serving = tokio::spawn(listener.serve(routes, async { drop(stopped.await) }));
    let remote = RemoteStore::new(connect(&address, None).unwrap());
    let mut changes = remote.watch("").await.unwrap();
    drop(stop);
    // The socket is closed at once.
    while tokio::net::UnixStream::connect(dir.path().join("s")).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.create(&"a".parse().unwrap(), Bytes::new()).await.unwrap();
    assert!(changes.next().await.unwrap().is_ok());
    assert!(!serving.is_finished());
    drop(changes);
    tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_given_up_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _silent = tokio::net::UnixListener::bind(&path).unwrap();
    let channel = connect(&Address::Unix(path), None).unwrap();
    let remote = RemoteStore::new(channel).with_deadline(Duration::from_millis(100));
    let begun = tokio::time::Instant::now();
    let error = outcome(&remote).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("100 ms"), "{error}");
    assert_eq!(remote.watch("").await.err().unwrap().kind(), Kind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_own_outage_reads_the_same_from_afar() {
    let dir = tempfile::tempdir().unwrap();
    let (served, store) = serve(&Address::Unix(dir.path().join("s")), None).await;
    let remote = remote(&served, None);
    let mut changes = remote.watch("").await.unwrap();
    store.set_reachable(false);
    let error = remote.create(&"a".parse().unwrap(), Bytes::new()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::Unavailable, "the store cannot be reached")
    );
    assert_eq!(changes.next().await.unwrap().unwrap_err().kind(), Kind::Unavailable);
    assert!(changes.next().await.is_none());
}

#[test]
fn a_tls_file_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let files = TlsFiles { ca: path("ca"), certificate: path("cert"), key: path("key") };
    assert!(Tls::load(&files).unwrap_err().to_string().contains("ca' cannot be read"));
    let ca = authority();
    std::fs::write(path("ca"), &ca.certificate).unwrap();
    std::fs::write(path("cert"), &ca.certificate).unwrap();
    std::fs::write(path("key"), &ca.certificate).unwrap();
    let error = Tls::load(&files).unwrap_err();
    assert!(error.to_string().contains("holds no PRIVATE KEY"), "{error}");
    std::fs::write(path("key"), &ca.key).unwrap();
    Tls::load(&files).unwrap();
    assert!(!format!("{ca:?}").contains("PRIVATE"));
}
