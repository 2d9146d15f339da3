//! The demo: a member moves with its data, its name and its address, first as planned and then
//! because its host has lost power, while a client writes.

pub mod client;
mod dns;
pub mod ledger;
mod member;
mod report;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use stead_model::clock::{BootClock, Clock};
use stead_model::{Error, Result};

pub use report::{Report, Step};

use crate::driver::Settings;
use crate::folder::Folder;
use crate::need;
use member::Member;
use stage::Stage;

/// How long the client writes undisturbed before a move, and after it.
const CALM: Duration = Duration::from_millis(1500);

/// What the demo is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary under test.
    pub binary: PathBuf,
    /// How the driver is run.
    pub settings: Settings,
}

/// The story's end: the hosts stay until it is dropped.
#[derive(Debug)]
pub struct Told {
    /// What the demo found.
    pub report: Report,
    stage: Stage,
}

impl Told {
    /// How a person looks around.
    pub fn directions(&self) -> String {
        self.stage.directions()
    }

    /// Leaves the hosts in place until the program is interrupted.
    pub async fn linger(self) {
        // Without a handler there is nothing to wait for: then the hosts go at once.
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Tells the story. `progress` hears of each step when it is done.
pub async fn run(options: Options, progress: &(dyn Fn(&Step) + Sync)) -> Result<Told> {
    need::check(&[need::IP, need::MOUNT, need::LOSETUP, need::EXT4, need::REDIS])?;
    let mut folder = Folder::create()?;
    let told = tokio::select! {
        told = tell(&options, &folder, progress) => told,
        _ = tokio::signal::ctrl_c() => return Err(Error::unavailable("interrupted")),
    };
    match told {
        Ok((report, stage)) => Ok(Told { report, stage: stage.owning(folder) }),
        Err(error) => {
            folder.keep();
            let logs = folder.path().display();
            Err(Error::new(error.kind(), format!("{} (logs: {logs})", error.chain())))
        }
    }
}

/// Whose time it is measured from, and who listens.
struct Narrator<'a> {
    began: Duration,
    progress: &'a (dyn Fn(&Step) + Sync),
    timeline: Vec<Step>,
}

impl<'a> Narrator<'a> {
    fn new(progress: &'a (dyn Fn(&Step) + Sync)) -> Self {
        Self { began: BootClock.now(), progress, timeline: Vec::new() }
    }

    fn tell(&mut self, what: impl Into<String>) {
        let at_ms = millis(BootClock.now().saturating_sub(self.began));
        let step = Step { at_ms, what: what.into() };
        (self.progress)(&step);
        self.timeline.push(step);
    }
}

async fn tell(
    options: &Options,
    folder: &Folder,
    progress: &(dyn Fn(&Step) + Sync),
) -> Result<(Report, Stage)> {
    let stage = Stage::build(options, folder).await?;
    let mut narrator = Narrator::new(progress);
    narrator.tell("two hosts, a client and a control host stand on a bridge; the driver runs");
    let report = play(&stage, &mut narrator).await?;
    Ok((report, stage))
}

async fn play(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<Report> {
    let mut member = Member::create(stage).await?;
    narrator.tell(format!("member {} has {} and {}", member.name, member.dns_name, member.address));
    member.start(stage, &stage.b, narrator).await?;
    let client = stage.start_client(&member)?;
    stage.wait_for_write(&client, narrator.began).await?;
    narrator
        .tell("the client writes, by name, every write synced to disk before it is acknowledged");
    tokio::time::sleep(CALM).await;

    let planned_from = BootClock.now();
    narrator.tell("planned move from host b to host a");
    member.stop(stage, narrator).await?;
    member.start(stage, &stage.a, narrator).await?;
    stage.wait_for_write(&client, BootClock.now()).await?;
    let planned_to = BootClock.now();
    narrator.tell("the client writes again");
    tokio::time::sleep(CALM).await;

    let cut_from = BootClock.now();
    stage.a.power_off(stage.driver.pool(), &[&stage.b]).await?;
    narrator
        .tell("power cut: host a is gone, with its processes, its cable and all it had not synced");
    member.take_away(stage, "a").await?;
    narrator.tell("its lease is over: the controller lets host b have the member");
    member.start(stage, &stage.b, narrator).await?;
    stage.wait_for_write(&client, BootClock.now()).await?;
    let cut_to = BootClock.now();
    narrator.tell("the client writes again");
    tokio::time::sleep(CALM).await;

    let seen = stage.finish_client(&client).await?;
    narrator.tell(format!("all {} acknowledged writes were read back by name", seen.acknowledged));
    let writes = ledger::read(stage.ledger())?;
    let planned = ledger::longest_gap(&writes, planned_from, planned_to);
    let cut = ledger::longest_gap(&writes, cut_from, cut_to);
    Ok(Report {
        moves: 2,
        acknowledged_writes: seen.acknowledged,
        lost_writes: seen.lost.len() as u64,
        longest_gap_ms: millis(ledger::longest_gap(&writes, Duration::ZERO, Duration::MAX)),
        planned_gap_ms: millis(planned),
        power_cut_gap_ms: millis(cut),
        connections: seen.connections,
        dns_name: member.dns_name.clone(),
        addresses: seen.addresses,
        timeline: std::mem::take(&mut narrator.timeline),
    })
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
