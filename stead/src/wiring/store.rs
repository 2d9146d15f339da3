//! The identity store: opened here and served to others, or reached where another serves it.

use std::path::Path;
use std::sync::Arc;

use stead_controller::store::EmbeddedStore;
use stead_model::Error;
use stead_model::port::IdentityStore;
use stead_model::registry::Registry;
use stead_proto::stead::v1::store_server;
use stead_proto::store::{RemoteStore, StoreService};
use stead_proto::tls::Tls;
use stead_proto::transport::{self, Address, Listener};
use tonic::service::Routes;

use crate::failure::Failure;
use crate::option::{SocketPath, StoreAddress, StoreListen, TlsFiles};
use crate::serve::{Grpc, Process, listen};

/// Opens the store of this host.
pub(super) async fn open(state_dir: &Path) -> Result<(Arc<dyn IdentityStore>, Registry), Failure> {
    let store = EmbeddedStore::open(state_dir).await.map_err(Error::from)?;
    let store: Arc<dyn IdentityStore> = Arc::new(store);
    Ok((store.clone(), Registry::new(store)))
}

/// The store at this address.
pub(crate) fn registry(
    address: &StoreAddress,
    tls: Option<&TlsFiles>,
) -> Result<Registry, Failure> {
    let (address, tls) = match (address, tls) {
        (StoreAddress::Unix(socket), _) => (Address::Unix(socket.path().to_owned()), None),
        (StoreAddress::Tls(host), Some(files)) => (Address::Tcp(host.clone()), Some(load(files)?)),
        (StoreAddress::Tls(host), None) => return Err(no_tls("--store", host)),
    };
    let channel = transport::connect(&address, tls.as_ref())?;
    Ok(Registry::new(Arc::new(RemoteStore::new(channel))))
}

/// Where the store is to be served.
pub(super) struct Plan {
    places: Vec<StoreListen>,
    tls: Option<Tls>,
}

impl Plan {
    /// At `places`, and in any case at a socket of this host.
    pub(super) fn new(
        state_dir: &Path,
        mut places: Vec<StoreListen>,
        files: Option<&TlsFiles>,
    ) -> Result<Self, Failure> {
        let mut tls = None;
        for place in &places {
            let StoreListen::Tls(address) = place else { continue };
            let files = files.ok_or_else(|| no_tls("--store-listen", &address.to_string()))?;
            tls = Some(load(files)?);
        }
        if !places.iter().any(|place| matches!(place, StoreListen::Unix(_))) {
            let socket = SocketPath::within(state_dir, "store.sock")
                .map_err(|why| Failure::usage(format!("--state-dir: {why}")))?;
            places.push(StoreListen::Unix(socket));
        }
        Ok(Self { places, tls })
    }

    /// Binds all of them.
    pub(super) async fn bind(self) -> Result<Doors, Failure> {
        let mut doors = Vec::new();
        for place in self.places {
            doors.push(match place {
                StoreListen::Unix(socket) => listen(&socket).await?,
                StoreListen::Tls(address) => {
                    let address = Address::Tcp(address.to_string());
                    let bound = transport::listen(&address, self.tls.as_ref()).await;
                    bound.map_err(|error| Failure::from(error).context("--store-listen"))?
                }
            });
        }
        Ok(Doors(doors))
    }
}

/// Where the store is served, bound but not yet served.
pub(super) struct Doors(Vec<Listener>);

impl Doors {
    /// Serves the store as parts of the process.
    pub(super) async fn spawn(self, process: &Process, store: Arc<dyn IdentityStore>) {
        let mut routes = Routes::builder();
        routes.add_service(StoreService::new(store).into_server());
        let grpc = Grpc::new(routes, vec![store_server::SERVICE_NAME]).await;
        for listener in self.0 {
            tracing::info!(address = %listener.address(), "serving the identity store");
            // It outlives the CSI endpoint: the operations of other hosts depend on it.
            process.spawn("store endpoint", grpc.clone().serve(listener, process.background()));
        }
    }
}

fn load(files: &TlsFiles) -> Result<Tls, Failure> {
    let files = stead_proto::tls::TlsFiles {
        ca: files.ca.clone(),
        certificate: files.cert.clone(),
        key: files.key.clone(),
    };
    Ok(Tls::load(&files)?)
}

fn no_tls(option: &str, address: &str) -> Failure {
    Failure::usage(format!(
        "{option} {address} is reached by TCP, so it needs --tls-ca, --tls-cert and --tls-key: \
         `stead certificate --help` says how to make them"
    ))
}
