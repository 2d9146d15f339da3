//! The answering side.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use stead_model::port::{Change, IdentityStore, Key, Page, Revision};
use tonic::{Request, Response, Status};

use super::{refuse, to_wire};
use crate::stead::v1::store_server::{Store, StoreServer};
use crate::stead::v1::{self, watch_response};

/// How many bytes of values a page holds at most, but for the last value: well below what a message
/// may have (4 MiB).
const PAGE_BYTES_MAX: usize = 1 << 20;

/// An identity store, served.
#[derive(Clone)]
pub struct StoreService {
    store: Arc<dyn IdentityStore>,
}

impl StoreService {
    /// Serves this store.
    pub fn new(store: Arc<dyn IdentityStore>) -> Self {
        Self { store }
    }

    /// What a [`tonic::service::Routes`] takes.
    pub fn into_server(self) -> StoreServer<Self> {
        StoreServer::new(self)
    }
}

fn key(text: &str) -> Result<Key, Status> {
    text.parse().map_err(refuse)
}

#[tonic::async_trait]
impl Store for StoreService {
    async fn create(
        &self,
        request: Request<v1::CreateRequest>,
    ) -> Result<Response<v1::CreateResponse>, Status> {
        let request = request.into_inner();
        let created = self.store.create(&key(&request.key)?, request.value.into()).await;
        Ok(Response::new(v1::CreateResponse { revision: created.map_err(refuse)?.0 }))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateRequest>,
    ) -> Result<Response<v1::UpdateResponse>, Status> {
        let request = request.into_inner();
        let at = Revision(request.at);
        let updated = self.store.update(&key(&request.key)?, request.value.into(), at).await;
        Ok(Response::new(v1::UpdateResponse { revision: updated.map_err(refuse)?.0 }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let request = request.into_inner();
        let deleted = self.store.delete(&key(&request.key)?, Revision(request.at)).await;
        deleted.map_err(refuse)?;
        Ok(Response::new(v1::DeleteResponse {}))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let entry = self.store.get(&key(&request.into_inner().key)?).await.map_err(refuse)?;
        Ok(Response::new(v1::GetResponse { entry: entry.map(to_wire) }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let request = request.into_inner();
        let after = request.after.as_deref().map(key).transpose()?;
        let page = Page { after, limit: request.limit as usize };
        let all = self.store.list(&request.prefix, page).await.map_err(refuse)?;
        let (mut bytes, count) = (0, all.len());
        let fitting = all.into_iter().take_while(|entry| {
            let fits = bytes <= PAGE_BYTES_MAX;
            bytes += entry.value.len();
            fits
        });
        let entries: Vec<_> = fitting.map(to_wire).collect();
        let more = entries.len() < count;
        Ok(Response::new(v1::ListResponse { entries, more }))
    }

    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let changes = self.store.watch(&request.into_inner().prefix).await.map_err(refuse)?;
        let begun = stream::iter([Ok(v1::WatchResponse { change: None })]);
        let told = changes.map(|change| {
            let change = match change.map_err(refuse)? {
                Change::Put(entry) => watch_response::Change::Put(to_wire(entry)),
                Change::Deleted(key) => watch_response::Change::Deleted(key.to_string()),
            };
            Ok(v1::WatchResponse { change: Some(change) })
        });
        Ok(Response::new(begun.chain(told).boxed()))
    }
}
