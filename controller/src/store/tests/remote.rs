//! The embedded store as other hosts see it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stead_model::clock::{BootClock, Clock};
use stead_model::port::contract;
use stead_proto::certificate::{Validity, generate_ca, issue};
use stead_proto::store::{RemoteStore, StoreService};
use stead_proto::tls::Tls;
use stead_proto::transport::{Address, connect, listen};

use super::super::EmbeddedStore;

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_from_afar() {
    let validity = Validity { now: BootClock.wall(), lasts: Duration::from_secs(600) };
    let ca = generate_ca(validity).unwrap();
    let names = ["127.0.0.1".to_owned()];
    let own = issue(&ca.key, &"node-a".parse().unwrap(), &names, validity).unwrap();
    let tls = Tls::from_pem(&ca.certificate, &own.certificate, &own.key);
    let dirs = Mutex::new(Vec::new());
    for tcp in [false, true] {
        contract::store::all(async || {
            let dir = tempfile::tempdir().unwrap();
            let store = Arc::new(EmbeddedStore::open(dir.path().join("state")).await.unwrap());
            let address = match tcp {
                true => Address::Tcp("127.0.0.1:0".to_owned()),
                false => Address::Unix(dir.path().join("s")),
            };
            dirs.lock().unwrap().push(dir);
            let listener = listen(&address, Some(&tls)).await.unwrap();
            let address = listener.address().clone();
            let routes = tonic::service::Routes::new(StoreService::new(store).into_server());
            tokio::spawn(listener.serve(routes, std::future::pending()));
            RemoteStore::new(connect(&address, Some(&tls)).unwrap())
        })
        .await;
    }
}
