//! Volumes and whose they are.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use stead_model::hold::{Hold, Stage};
use stead_model::name::{Bytes, NodeId, Role, Term, VolumeId};
use stead_model::record::{Format, HoldKey, HoldRecord, Origin, Phase, Record, Volume};
use stead_model::registry::Registry;

use super::row::{NOTHING, Row, joined, object, or_nothing, size};
use crate::failure::Failure;

/// Its headings.
pub(super) const HEAD: (&[&str], &[&str]) = (
    &["VOLUME", "MEMBER", "ROLE", "SIZE", "PHASE", "NODE", "STAGE"],
    &["NAME", "FILE-SYSTEM", "ORIGIN", "TOPOLOGY"],
);

/// The records that it is made of.
pub(super) const RECORDS: &[&str] = &[Volume::KIND, HoldRecord::KIND];

#[derive(Serialize)]
struct View<'r> {
    volume: &'r VolumeId,
    name: &'r str,
    phase: Phase,
    size_bytes: Bytes,
    origin: Option<&'r Origin>,
    cluster: Option<String>,
    member: Option<String>,
    role: Option<&'r Role>,
    format: &'r Format,
    parameters: &'r BTreeMap<String, String>,
    mutable_parameters: &'r BTreeMap<String, String>,
    context: &'r BTreeMap<String, String>,
    topology: &'r BTreeMap<String, String>,
    term: Term,
    node: Option<&'r NodeId>,
    stage: Option<Stage>,
}

/// Every volume.
pub(super) async fn rows(registry: &Registry) -> Result<Vec<Row>, Failure> {
    let (volumes, holds) =
        futures::try_join!(registry.list_all::<Volume>(), registry.list_all::<HoldRecord>())?;
    let holds: HashMap<&HoldKey, &Hold> =
        holds.iter().map(|stored| (&stored.of, &stored.hold)).collect();
    let nobody = Hold::default();
    volumes
        .iter()
        .map(|volume| row(volume, holds.get(&volume.hold_key()).copied().unwrap_or(&nobody)))
        .collect()
}

fn row(volume: &Volume, hold: &Hold) -> Result<Row, Failure> {
    let usage = hold.usage(&volume.id);
    let view = View {
        volume: &volume.id,
        name: &volume.name,
        phase: volume.phase,
        size_bytes: volume.size,
        origin: volume.origin.as_ref(),
        cluster: volume.member.as_ref().map(|member| member.cluster.to_string()),
        member: volume.member.as_ref().map(|member| member.member.to_string()),
        role: volume.role.as_ref(),
        format: &volume.format,
        parameters: &volume.parameters,
        mutable_parameters: &volume.mutable_parameters,
        context: &volume.context,
        topology: &volume.topology,
        term: hold.term,
        node: usage.map(|(node, _)| node),
        stage: usage.map(|(_, usage)| usage.stage),
    };
    Ok(Row {
        cluster: volume.member.as_ref().map(|member| member.cluster.clone()),
        name: volume.id.to_string(),
        narrow: vec![
            volume.id.to_string(),
            or_nothing(view.member.as_ref()),
            or_nothing(view.role),
            size(volume.size.0),
            phase(volume.phase).to_owned(),
            or_nothing(view.node),
            stage(view.stage).to_owned(),
        ],
        more: vec![
            volume.name.clone(),
            match &volume.format {
                Format::Never => NOTHING.to_owned(),
                Format::Begun(kind) => format!("{kind} (begun)"),
                Format::Done(kind) => kind.clone(),
                Format::Raw => "raw".to_owned(),
            },
            match &volume.origin {
                None => NOTHING.to_owned(),
                Some(Origin::Volume(id)) => id.to_string(),
                Some(Origin::Snapshot(id)) => id.to_string(),
            },
            joined(volume.topology.iter().map(|(key, value)| format!("{key}={value}"))),
        ],
        object: object(&view)?,
    })
}

/// The word for a phase.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Creating => "creating",
        Phase::Ready => "ready",
        Phase::Deleting => "deleting",
    }
}

/// The word for a stage.
pub(super) fn stage(stage: Option<Stage>) -> &'static str {
    match stage {
        None => NOTHING,
        Some(Stage::Attached) => "attached",
        Some(Stage::Staged) => "staged",
        Some(Stage::Published) => "published",
    }
}
