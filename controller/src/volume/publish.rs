//! Publishing a volume to a node: the hold first, then the back end.

use stead_model::hold::{Event, Standing};
use stead_model::image::TERM_KEY;
use stead_model::name::{NodeId, VolumeId};
use stead_model::port::Attachment;
use stead_model::record::NodeLease;
use stead_model::{Error, Kind, Result};
use stead_proto::request::Access;
use tracing::Span;

use crate::core::Core;

/// A volume to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) volume: VolumeId,
    pub(crate) node: NodeId,
    pub(crate) access: Access,
    pub(crate) readonly: bool,
}

impl Core {
    /// Claims the volume's hold for the node, attaches the volume, and returns what the node needs:
    /// the back end's words and the term.
    pub(crate) async fn publish(&self, publish: Publish) -> Result<Attachment> {
        let span = Span::current();
        span.record("node", publish.node.as_str());
        let volume = self.ready_volume(&publish.volume).await?;
        span.record("member", volume.member.as_ref().map(ToString::to_string));
        let lease = self.live_node(&publish.node).await?;
        if !volume.topology.iter().all(|(key, value)| lease.topology.get(key) == Some(value)) {
            return Err(Error::invalid(format!(
                "node '{}' cannot reach volume '{}': the volume is at {:?}, the node at {:?}",
                publish.node, publish.volume, volume.topology, lease.topology
            )));
        }
        let outcome = self
            .step_hold(&volume.hold_key(), |standing| Event::Claim {
                node: publish.node.clone(),
                epoch: lease.epoch,
                volume: publish.volume.clone(),
                readonly: publish.readonly || !publish.access.writes(),
                access: publish.access.to_string(),
                standing,
            })
            .await?;
        let mut context = outcome.attachment;
        context.insert(TERM_KEY.to_owned(), outcome.term.to_string());
        span.record("term", outcome.term.0);
        tracing::info!("volume published");
        Ok(context)
    }

    /// Takes the volume from the node, or from whichever has it. A volume that is gone, or that the
    /// node does not have, is success.
    pub(crate) async fn unpublish(&self, id: &VolumeId, node: Option<NodeId>) -> Result<()> {
        let volume = match self.any_volume(id).await {
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            volume => volume?,
        };
        let hold = self.hold(&volume.hold_key()).await?;
        let mut nodes: Vec<NodeId> = match node {
            Some(node) => vec![node],
            None => hold.usage(id).map(|(node, _)| node.clone()).into_iter().collect(),
        };
        let left =
            hold.unfenced.iter().filter(|(_, left)| left == id).map(|(node, _)| node.clone());
        nodes.extend(left);
        nodes.dedup();
        let span = Span::current();
        span.record("member", volume.member.as_ref().map(ToString::to_string));
        for node in nodes {
            span.record("node", node.as_str());
            self.release(&volume.hold_key(), &node, id).await?;
        }
        Ok(())
    }

    /// The node's lease, which must be live: a node that cannot renew would fence itself at once.
    async fn live_node(&self, node: &NodeId) -> Result<NodeLease> {
        let lease = self.leases.read(node).await?.ok_or_else(|| {
            Error::not_found(format!("there is no node '{node}': no agent has registered it"))
        })?;
        match self.leases.standing(node, lease.epoch) {
            Standing::Live(_) => Ok(lease),
            Standing::Over => Err(Error::precondition(format!(
                "node '{node}' no longer renews its lease: start its agent, or publish elsewhere"
            ))),
        }
    }
}
