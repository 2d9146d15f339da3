//! The wire side: each call becomes an operation on its volume, and its outcome an answer.

use std::future::Future;
use std::sync::Arc;

use stead_model::Error;
use stead_model::name::VolumeId;
use stead_model::operation::Operation;
use stead_proto::csi::v1::node_server::Node;
use stead_proto::csi::v1::*;
use stead_proto::request::required;
use stead_proto::status::status;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span, field};

use super::{Host, NodeService};
use crate::error::Result;

impl NodeService {
    fn span(&self, rpc: &'static str, volume: &str) -> Span {
        let node = &self.host.config.node;
        tracing::info_span!("rpc", rpc, volume, %node, member = field::Empty, term = field::Empty)
    }

    /// Runs work that changes something of a volume, detached, with what else is asked of the same
    /// volume kept apart from it.
    async fn operate<A, T, F>(
        &self,
        rpc: &'static str,
        volume: String,
        request: Request<A>,
        work: impl FnOnce(Arc<Host>, A) -> F + Send + 'static,
    ) -> Result<Response<T>, Status>
    where
        A: Clone + PartialEq + Send + Sync + 'static,
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let span = self.span(rpc, &volume);
        let request = request.into_inner();
        let objects = vec![format!("volume {volume}")];
        let operation = Operation { rpc, objects, arguments: request.clone() };
        let host = self.host.clone();
        let started = || async move { work(host, request).await.map_err(Error::from) };
        let ran = async {
            // What has no name is nothing to work on.
            required::<VolumeId>("volume_id", &volume).map(drop)?;
            let patience = self.host.config.profile.patience;
            self.operations.run(operation, patience, started).await
        };
        self.answer(ran.instrument(span).await)
    }

    /// Runs work that only looks.
    async fn look<T>(
        &self,
        rpc: &'static str,
        volume: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Response<T>, Status> {
        let patience = self.host.config.profile.patience;
        let work = tokio::time::timeout(patience, work).instrument(self.span(rpc, volume));
        let late = |_| {
            Err(Error::unavailable("the volume does not answer: is its pool reachable?").into())
        };
        self.answer(work.await.unwrap_or_else(late).map_err(Error::from))
    }

    fn answer<T>(&self, result: stead_model::Result<T>) -> Result<Response<T>, Status> {
        result.map(Response::new).map_err(|error| {
            tracing::warn!(kind = ?error.kind(), error = error.chain(), "refused");
            status(self.host.config.profile.present(error))
        })
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let id = request.get_ref().volume_id.clone();
        self.operate("NodeStageVolume", id, request, |host, request| async move {
            host.stage(&request).await.map(|()| NodeStageVolumeResponse {})
        })
        .await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let id = request.get_ref().volume_id.clone();
        self.operate("NodeUnstageVolume", id, request, |host, request| async move {
            host.unstage(&request).await.map(|()| NodeUnstageVolumeResponse {})
        })
        .await
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let id = request.get_ref().volume_id.clone();
        self.operate("NodePublishVolume", id, request, |host, request| async move {
            host.publish(&request).await.map(|()| NodePublishVolumeResponse {})
        })
        .await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let id = request.get_ref().volume_id.clone();
        self.operate("NodeUnpublishVolume", id, request, |host, request| async move {
            host.unpublish(&request).await.map(|()| NodeUnpublishVolumeResponse {})
        })
        .await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.get_ref();
        self.look("NodeGetVolumeStats", &request.volume_id, self.host.stats(request)).await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        let request = request.get_ref();
        let work = self.host.volume_health(request);
        self.look("NodeGetVolumeHealth", &request.volume_id, work).await
    }

    async fn node_get_storage_health(
        &self,
        _: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        let work = async { Ok(self.host.storage_health().await) };
        self.look("NodeGetStorageHealth", "", work).await
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let id = request.get_ref().volume_id.clone();
        self.operate("NodeExpandVolume", id, request, |host, request| async move {
            host.expand(&request).await
        })
        .await
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(self.host.capabilities()))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(self.host.info()))
    }
}
