//! The `pool` back end on a node: image files on loop devices.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stead_model::Error;
use stead_model::image::{Claim, DIRECT_IO_KEY, Layout};
use stead_model::name::{Bytes, NodeId, Term, VolumeId};

use super::loops::{self, Identity, Loop, Setup};
use super::{Attach, Device, DeviceFinder};
use crate::blocking::blocking;
use crate::error::{NodeError, Result};
use crate::mount::users;

/// How long the kernel gets to let go of a device after its last user is gone.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// A pool as this host has it mounted.
#[derive(Clone)]
pub struct Pool {
    node: NodeId,
    layout: Layout,
}

/// How the image is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DirectIo {
    Auto,
    On,
    Off,
}

impl Pool {
    /// The pool below `root`, for this node.
    pub fn new(node: NodeId, root: PathBuf) -> Self {
        Self { node, layout: Layout::new(root) }
    }

    fn check_mark(&self) -> Result<()> {
        if self.layout.mark().exists() {
            return Ok(());
        }
        Err(NodeError::NoPool { root: self.layout.root().to_owned() })
    }

    fn check_claim(&self, volume: &VolumeId, term: Term) -> Result<()> {
        self.check_mark()?;
        let claim = read_claim(&self.layout.claim(volume))?;
        if claim.node.as_ref() == Some(&self.node) && claim.term == term {
            return Ok(());
        }
        Err(NodeError::NotClaimed {
            volume: volume.clone(),
            owner: claim.node.map_or("nobody".into(), |node| format!("node '{node}'")),
            claimed: claim.term,
            node: self.node.clone(),
            term,
        })
    }

    fn attach_now(&self, request: &Attach) -> Result<Device> {
        let direct = direct_io(request)?;
        self.check_claim(&request.volume, request.term)?;
        let image = self.layout.image(&request.volume);
        let identity = Identity::of(&image).map_err(NodeError::io("find", &image))?;
        let mut reusable = None;
        for device in loops::list()?.into_iter().filter(|device| device.identity == identity) {
            let term = device.label.as_ref().map(|(_, term)| *term);
            if term != Some(request.term) {
                let (device, volume) = (device.path.clone(), request.volume.clone());
                let users = users::of_device(&device);
                return Err(NodeError::Outdated { device, volume, users });
            }
            if device.readonly == request.readonly {
                reusable = Some(device);
            }
        }
        let device = match reusable {
            Some(device) => device,
            None => loops::create(&Setup {
                image: &image,
                volume: &request.volume,
                term: request.term,
                readonly: request.readonly,
                transient: request.transient,
                direct: direct != DirectIo::Off,
            })?,
        };
        let refused = match direct {
            DirectIo::On if !device.direct => Err(NodeError::NoDirectIo { image }),
            // Whoever took the volume over meanwhile may be reading the image already.
            _ => self.check_claim(&request.volume, request.term),
        };
        match refused {
            Ok(()) => Ok(held(device, request.volume.clone())),
            Err(error) => {
                loops::clear(device)?;
                Err(error)
            }
        }
    }

    /// The loop devices of a volume. Those that say so are found without the pool, which may be gone
    /// or hang; where there is none, the image itself tells.
    fn loops_of(&self, volume: &VolumeId) -> Result<Vec<Loop>> {
        let says_so = |device: &Loop| {
            device.label.as_ref().is_some_and(|(labelled, _)| labelled == volume)
                && self.backs(device, volume)
        };
        let (mut ours, others): (Vec<_>, Vec<_>) = loops::list()?.into_iter().partition(says_so);
        let image = self.layout.image(volume);
        // An orchestrator may ask for any id: one that leads out of the pool is nothing of ours.
        if ours.is_empty()
            && self.layout.volume_of(&image).as_ref() == Some(volume)
            && let Ok(identity) = Identity::of(&image)
        {
            ours.extend(others.into_iter().filter(|device| device.identity == identity));
        }
        Ok(ours)
    }

    /// The volume that a device says it is, if that is true: another pool's plugin may run on this host.
    fn volume_of(&self, device: &Loop) -> Option<VolumeId> {
        let (volume, _) = device.label.as_ref()?;
        // The kernel's name for the file first: it is there even while the pool does not answer.
        let same = || Identity::of(&self.layout.image(volume)).ok() == Some(device.identity);
        (self.backs(device, volume) || same()).then(|| volume.clone())
    }

    /// Whether the file behind a device is the image of this volume, by the name that the kernel has.
    fn backs(&self, device: &Loop, volume: &VolumeId) -> bool {
        let Some(name) = device.path.file_name() else { return false };
        let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
        let Ok(text) = std::fs::read_to_string(backing) else { return false };
        let text = text.trim_end().trim_end_matches(" (deleted)");
        self.layout.volume_of(Path::new(text)).as_ref() == Some(volume)
    }
}

#[async_trait]
impl DeviceFinder for Pool {
    async fn attach(&self, request: &Attach) -> Result<Device> {
        let (pool, request) = (self.clone(), request.clone());
        blocking(move || pool.attach_now(&request)).await
    }

    async fn detach(&self, volume: &VolumeId) -> Result<()> {
        let (pool, id) = (self.clone(), volume.clone());
        let paths = blocking(move || {
            let devices = pool.loops_of(&id)?;
            let paths: Vec<PathBuf> = devices.iter().map(|device| device.path.clone()).collect();
            devices.into_iter().try_for_each(loops::clear)?;
            Ok(paths)
        })
        .await?;
        if paths.is_empty() {
            return Ok(());
        }
        // The kernel says yes and lets go when the last opener is gone: only its absence counts.
        let end = tokio::time::Instant::now() + RELEASE_PATIENCE;
        let mut wait = Duration::from_millis(2);
        loop {
            let (pool, id) = (self.clone(), volume.clone());
            let left = blocking(move || pool.loops_of(&id)).await?;
            let Some(path) = left.first().map(|device| device.path.clone()) else { return Ok(()) };
            drop(left);
            if tokio::time::Instant::now() >= end {
                return blocking(move || {
                    let users = users::of_device(&path);
                    Err(NodeError::InUse { path, users })
                })
                .await;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(200));
        }
    }

    async fn grow(&self, volume: &VolumeId) -> Result<Bytes> {
        let (pool, volume) = (self.clone(), volume.clone());
        blocking(move || {
            let sizes = pool.loops_of(&volume)?.iter().map(loops::grow).collect::<Result<Vec<_>>>();
            sizes?.into_iter().min().map(Bytes).ok_or_else(|| {
                Error::precondition(format!("volume '{volume}' has no device on this node")).into()
            })
        })
        .await
    }

    async fn find(&self, volume: &VolumeId) -> Result<Vec<Device>> {
        let (pool, volume) = (self.clone(), volume.clone());
        blocking(move || {
            let devices = pool.loops_of(&volume)?.into_iter();
            Ok(devices.map(|device| seen(device, volume.clone())).collect())
        })
        .await
    }

    async fn all(&self) -> Result<Vec<Device>> {
        let pool = self.clone();
        blocking(move || {
            let mut found = Vec::new();
            for device in loops::list()? {
                if let Some(volume) = pool.volume_of(&device) {
                    found.push(seen(device, volume));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn identify(&self, path: &Path) -> Result<Option<VolumeId>> {
        let (pool, path) = (self.clone(), path.to_owned());
        blocking(move || Ok(loops::open(&path)?.and_then(|device| pool.volume_of(&device)))).await
    }

    async fn check(&self) -> Result<()> {
        let pool = self.clone();
        blocking(move || pool.check_mark()).await
    }
}

/// A device that stays while this value lives.
fn held(device: Loop, volume: VolumeId) -> Device {
    Device {
        number: super::number(&device.path).unwrap_or(0),
        term: device.label.map(|(_, term)| term),
        readonly: device.readonly,
        open: Some(Arc::new(device.file.into())),
        path: device.path,
        volume,
    }
}

/// A device as it was seen; it may be gone by now.
fn seen(device: Loop, volume: VolumeId) -> Device {
    Device { open: None, ..held(device, volume) }
}

fn direct_io(request: &Attach) -> Result<DirectIo> {
    match request.context.get(DIRECT_IO_KEY).map(String::as_str) {
        None | Some("auto") => Ok(DirectIo::Auto),
        Some("on") => Ok(DirectIo::On),
        Some("off") => Ok(DirectIo::Off),
        Some(other) => {
            Err(Error::invalid(format!("{DIRECT_IO_KEY} is '{other}': use auto, on or off")).into())
        }
    }
}

fn read_claim(path: &Path) -> Result<Claim> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|source| NodeError::BadState { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Claim::default()),
        Err(error) => Err(NodeError::io("read", path)(error)),
    }
}
