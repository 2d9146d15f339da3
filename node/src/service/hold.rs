//! What the node says to the store about its holds, and to the agent about its members.

use std::time::Duration;

use stead_model::hold::{Event, Stage, Use};
use stead_model::name::{Term, VolumeId};
use stead_model::record::{HoldKey, HoldRecord, Phase, Volume, hold_key, volume_key};
use stead_model::{Error, Kind, Result};
use stead_proto::stead::v1::ConvergeRequest;
use stead_proto::stead::v1::agent_client::AgentClient;
use tracing::Span;

use super::Host;

/// How long the agent gets to converge before the call says "repeat".
const CONVERGE_LIMIT: Duration = Duration::from_secs(10);

impl Host {
    /// A volume that can be used.
    pub(super) async fn usable_volume(&self, id: &VolumeId) -> Result<Volume> {
        let volume = self.registry.require::<Volume>(&volume_key(id)).await?;
        let volume = volume.decoded.record;
        if let Some(member) = &volume.member {
            Span::current().record("member", tracing::field::display(member));
        }
        if volume.phase == Phase::Ready {
            return Ok(volume);
        }
        Err(Error::precondition(format!("volume '{id}' is still being made or deleted")))
    }

    /// Makes sure that this node holds the volume with this term, and that the store says that it has
    /// come at least to `stage`; says how it may be used.
    pub(super) async fn raise(&self, volume: &Volume, term: Term, stage: Stage) -> Result<Use> {
        Span::current().record("term", term.0);
        let of = volume.hold_key();
        let key = hold_key(&of);
        let raised = self.registry.change::<HoldRecord>(&key, |record| {
            let reached = record.hold.usage(&volume.id).map(|(_, usage)| usage.stage);
            let (next, _) = record.hold.step(Event::Reach {
                node: self.config.node.clone(),
                term,
                volume: volume.id.clone(),
                stage: reached.map_or(stage, |reached| reached.max(stage)),
            })?;
            record.hold = next;
            Ok(())
        });
        let first = "ControllerPublishVolume comes first";
        match raised.await {
            Ok(record) => match record.hold.usage(&volume.id) {
                Some((_, usage)) => Ok(usage.clone()),
                None => Err(Error::precondition(format!("{of} is not held: {first}"))),
            },
            Err(error) if error.kind() == Kind::NotFound => {
                Err(Error::precondition(format!("{of} is held by no node: {first}")))
            }
            Err(error) if error.kind() == Kind::Precondition => {
                Err(Error::precondition(format!("{of}: {}; {first}", error.chain())))
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the store that the volume has gone back to `stage` on this node. That another node holds it
    /// by now is none of our business: nothing is left here for it to mind.
    pub(super) async fn lower(&self, of: &HoldKey, volume: &VolumeId, stage: Stage) -> Result<()> {
        let node = &self.config.node;
        let key = hold_key(of);
        let lowered = self.registry.change::<HoldRecord>(&key, |record| {
            let Some((holder, usage)) = record.hold.usage(volume) else { return Ok(()) };
            if holder != node || usage.stage <= stage {
                return Ok(());
            }
            let (next, _) = record.hold.step(Event::Reach {
                node: node.clone(),
                term: record.hold.term,
                volume: volume.clone(),
                stage,
            })?;
            record.hold = next;
            Ok(())
        });
        match lowered.await {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            lowered => lowered.map(drop),
        }
    }

    /// Has the agent bring addresses and names in line with the store.
    pub(super) async fn converge(&self, of: &HoldKey) -> Result<()> {
        let HoldKey::Member(member) = of else { return Ok(()) };
        let request = ConvergeRequest {
            cluster: member.cluster.to_string(),
            member: member.member.to_string(),
        };
        let mut agent = AgentClient::new(self.config.agent.clone());
        let refused = |why: String| {
            Error::unavailable(format!(
                "the network agent of this node did not converge member {member}: {why}; see that it runs, and repeat"
            ))
        };
        match tokio::time::timeout(CONVERGE_LIMIT, agent.converge(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(refused(status.message().to_owned())),
            Err(_) => Err(refused(format!("no answer within {} s", CONVERGE_LIMIT.as_secs()))),
        }
    }
}
