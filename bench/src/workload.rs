//! The life of many volumes, each phase over all of them before the next begins.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use stead_proto::csi::v1::controller_client::ControllerClient;
use stead_proto::csi::v1::volume_capability::{
    AccessMode, AccessType, MountVolume, access_mode::Mode,
};
use stead_proto::csi::v1::*;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::driver::NODE;
use crate::measure::Samples;
use crate::{BenchError, Result};

const MIB: i64 = 1 << 20;
/// Sizes go round from 1 MiB to this many.
const SIZES: usize = 16;
/// How often all volumes are listed.
const LISTINGS: usize = 10;
/// How long the node may take to have its first lease.
const LEASE_PATIENCE: Duration = Duration::from_secs(20);

/// What to do, and with how many at once.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many volumes.
    pub count: usize,
    /// How many calls are under way at once.
    pub concurrency: usize,
    /// How many members each service has.
    pub service_members: usize,
    /// How many volumes are on a page.
    pub page: usize,
    /// What the names begin with.
    pub prefix: &'static str,
}

/// A volume as the driver made it.
#[derive(Debug, Clone)]
pub struct Made {
    id: String,
    context: BTreeMap<String, String>,
}

/// Whether the volume at this place belongs to a member: every second does.
pub fn is_member(place: usize) -> bool {
    place % 2 == 1
}

/// The calls of one plan.
#[derive(Debug, Clone)]
pub struct Workload {
    client: ControllerClient<Channel>,
    plan: Plan,
}

impl Workload {
    /// Calls over this connection.
    pub fn new(channel: Channel, plan: Plan) -> Self {
        Self { client: ControllerClient::new(channel), plan }
    }

    /// Makes all volumes.
    pub async fn create(&self) -> Result<(Samples, Vec<Made>)> {
        self.each("create", |place| async move {
            let name = format!("{}-{place}", self.plan.prefix);
            let request = CreateVolumeRequest {
                name: name.clone(),
                capacity_range: Some(CapacityRange {
                    required_bytes: (place % SIZES + 1) as i64 * MIB,
                    limit_bytes: 0,
                }),
                volume_capabilities: vec![capability()],
                parameters: self.parameters(place),
                ..Default::default()
            };
            let answer = self.client.clone().create_volume(request).await;
            let answer = answer.map_err(|e| BenchError::call("CreateVolume", &name, e))?;
            let Volume { volume_id: id, volume_context: context, .. } =
                answer.into_inner().volume.unwrap_or_default();
            let ip = context.contains_key("stead.dev/static-ip");
            if ip != is_member(place) {
                let what = format!("volume_context {context:?}");
                return Err(BenchError::Answer { call: "CreateVolume", of: name, what });
            }
            Ok(Made { id, context })
        })
        .await
    }

    fn parameters(&self, place: usize) -> BTreeMap<String, String> {
        if !is_member(place) {
            return BTreeMap::new();
        }
        let (member, size) = (place / 2, self.plan.service_members);
        let service = format!("{}-{}", self.plan.prefix, member / size);
        [
            ("cluster", "bench".to_owned()),
            ("member", format!("{service}-{}", member % size)),
            ("service", service),
            ("static-ip", "auto".to_owned()),
            ("subnet", "10.64.0.0/20".to_owned()),
        ]
        .map(|(key, value)| (format!("stead.dev/{key}"), value))
        .into()
    }

    /// Lists all volumes a few times, page by page. Each time, each volume has to be there once.
    pub async fn list(&self, made: &[Made]) -> Result<Samples> {
        let began = Instant::now();
        let mut progress = Progress::new("list", LISTINGS);
        let mut calls = Vec::new();
        for _ in 0..LISTINGS {
            let listed = self.list_once(&mut calls).await?;
            let wanted: BTreeSet<_> = made.iter().map(|made| made.id.clone()).collect();
            if listed.len() != wanted.len() || BTreeSet::from_iter(listed) != wanted {
                let what = "not every volume once".to_owned();
                let of = "all volumes".to_owned();
                return Err(BenchError::Answer { call: "ListVolumes", of, what });
            }
            progress.step();
        }
        Ok(Samples { calls, wall: began.elapsed() })
    }

    async fn list_once(&self, calls: &mut Vec<(usize, Duration)>) -> Result<Vec<String>> {
        let mut listed = Vec::new();
        let mut token = String::new();
        for page in 0.. {
            let max_entries = i32::try_from(self.plan.page).unwrap_or(i32::MAX);
            let request = ListVolumesRequest { max_entries, starting_token: token };
            let began = Instant::now();
            let answer = self.client.clone().list_volumes(request).await;
            calls.push((page, began.elapsed()));
            let answer = answer.map_err(|e| BenchError::call("ListVolumes", "all volumes", e))?;
            let answer = answer.into_inner();
            let ids = answer.entries.into_iter().filter_map(|entry| entry.volume);
            listed.extend(ids.map(|volume| volume.volume_id));
            token = answer.next_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(listed)
    }

    /// Publishes all volumes to the driver's own node.
    pub async fn publish(&self, made: &[Made]) -> Result<Samples> {
        let publish = |place: usize| async move { self.publish_one(&made[place]).await };
        Ok(self.each("publish", publish).await?.0)
    }

    async fn publish_one(&self, made: &Made) -> Result<()> {
        let request = ControllerPublishVolumeRequest {
            volume_id: made.id.clone(),
            node_id: NODE.to_owned(),
            volume_capability: Some(capability()),
            volume_context: made.context.clone(),
            ..Default::default()
        };
        let answer = self.client.clone().controller_publish_volume(request).await;
        let failed = |status| BenchError::call("ControllerPublishVolume", &made.id, status);
        answer.map(drop).map_err(failed)
    }

    /// Publishes the first volume as soon as the node has its lease.
    pub async fn wait_for_lease(&self, made: &[Made]) -> Result<()> {
        let deadline = Instant::now() + LEASE_PATIENCE;
        let Some(first) = made.first() else { return Ok(()) };
        loop {
            match self.publish_one(first).await {
                Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(100)).await,
                result => return result,
            }
        }
    }

    /// Takes all volumes from the node.
    pub async fn unpublish(&self, made: &[Made]) -> Result<Samples> {
        let unpublish = |place: usize| async move {
            let id = &made[place].id;
            let request = ControllerUnpublishVolumeRequest {
                volume_id: id.clone(),
                node_id: NODE.to_owned(),
                ..Default::default()
            };
            let answer = self.client.clone().controller_unpublish_volume(request).await;
            let failed = |status| BenchError::call("ControllerUnpublishVolume", id, status);
            answer.map(drop).map_err(failed)
        };
        Ok(self.each("unpublish", unpublish).await?.0)
    }

    /// Deletes all volumes.
    pub async fn delete(&self, made: &[Made]) -> Result<Samples> {
        let delete = |place: usize| async move {
            let id = &made[place].id;
            let request = DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
            let answer = self.client.clone().delete_volume(request).await;
            answer.map(drop).map_err(|status| BenchError::call("DeleteVolume", id, status))
        };
        Ok(self.each("delete", delete).await?.0)
    }

    /// Calls for each volume, some at once; what they return is in the order of the volumes.
    async fn each<T, F>(
        &self,
        phase: &'static str,
        call: impl Fn(usize) -> F,
    ) -> Result<(Samples, Vec<T>)>
    where
        F: Future<Output = Result<T>>,
    {
        let mut progress = Progress::new(phase, self.plan.count);
        let began = Instant::now();
        let timed = |place| {
            let call = call(place);
            async move {
                let began = Instant::now();
                let result = call.await?;
                Ok::<_, BenchError>((place, began.elapsed(), result))
            }
        };
        let mut done: Vec<_> = stream::iter(0..self.plan.count)
            .map(timed)
            .buffer_unordered(self.plan.concurrency)
            .inspect_ok(|_| progress.step())
            .try_collect()
            .await?;
        let wall = began.elapsed();
        done.sort_unstable_by_key(|(place, ..)| *place);
        let calls = done.iter().map(|(place, latency, _)| (*place, *latency)).collect();
        Ok((Samples { calls, wall }, done.into_iter().map(|(.., result)| result).collect()))
    }
}

fn capability() -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

/// How far a phase is, on standard error: rewritten on a terminal, a line a phase elsewhere.
struct Progress {
    phase: &'static str,
    done: usize,
    of: usize,
}

impl Progress {
    fn new(phase: &'static str, of: usize) -> Self {
        Self { phase, done: 0, of }
    }

    fn step(&mut self) {
        self.done += 1;
        let mut out = std::io::stderr();
        let last = self.done == self.of;
        let shown = if out.is_terminal() { self.done.is_multiple_of(10) } else { last };
        if !shown && !last {
            return;
        }
        let (begin, end) = match (out.is_terminal(), last) {
            (true, false) => ("\r", ""),
            (true, true) => ("\r", "\n"),
            (false, _) => ("", "\n"),
        };
        // Nobody can be told that standard error is closed.
        let _ = write!(out, "{begin}{:>9}: {}/{}{end}", self.phase, self.done, self.of);
    }
}
