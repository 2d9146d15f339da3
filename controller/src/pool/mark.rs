//! The mark of a pool: what tells its directory from an empty mount point.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stead_model::image::Layout;
use stead_model::name::NodeId;
use uuid::Uuid;

use super::error::{At, PoolError, Result};
use super::files;

/// The topology segment of a pool that many nodes have mounted: its id.
pub const TOPOLOGY_POOL: &str = "topology.stead.dev/pool";
/// The topology segment of a pool on one node: the node's id.
pub const TOPOLOGY_NODE: &str = "topology.stead.dev/node";

/// The longest value of a topology segment, in bytes (CSI, `Topology.segments`).
const SEGMENT_BYTES_MAX: usize = 63;

/// The version of the layout that this program writes.
const VERSION: u32 = 1;

/// How a pool is opened.
#[derive(Debug, Clone, Default)]
pub struct PoolConfig {
    /// Whether every node reaches the directory (NFS, CephFS, GlusterFS); a directory that only one
    /// node has is not shared.
    pub shared: bool,
    /// The node that has the directory: needed where it is not shared.
    pub node: Option<NodeId>,
    /// A file of this host, outside the pool, that remembers which pool the directory held. With it
    /// a share that is not mounted is noticed instead of being made a new pool.
    pub memory: Option<PathBuf>,
}

/// What `pool.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The version of the layout.
    pub version: u32,
    /// The id of the pool, never given to another one.
    pub id: String,
    /// Whether every node reaches it.
    pub shared: bool,
    /// The node that has it, where it is not shared.
    pub node: Option<NodeId>,
}

impl Mark {
    /// Where the volumes of this pool can be reached.
    pub fn topology(&self) -> BTreeMap<String, String> {
        let (key, value) = match &self.node {
            Some(node) if !self.shared => (TOPOLOGY_NODE, node.to_string()),
            _ => (TOPOLOGY_POOL, self.id.clone()),
        };
        BTreeMap::from([(key.to_owned(), value)])
    }
}

/// Reads the mark below `root`, or makes it where the directory is missing or empty and this host
/// does not remember a pool there.
pub(crate) fn open(layout: &Layout, config: &PoolConfig) -> Result<Mark> {
    let wanted = fresh(config)?;
    let root = layout.root();
    let known: Option<Mark> = match &config.memory {
        Some(memory) => files::read(memory)?,
        None => None,
    };
    let mark = match files::read::<Mark>(&layout.mark())? {
        Some(mark) => mark,
        None => make(layout, wanted.clone(), known.as_ref())?,
    };
    check(root, &mark, &wanted, known.as_ref())?;
    if let Some(memory) = config.memory.as_deref().filter(|_| known.is_none()) {
        files::create_dirs(memory.parent().unwrap_or(Path::new("/")))?;
        files::replace(memory, &mark)?;
    }
    Ok(mark)
}

fn fresh(config: &PoolConfig) -> Result<Mark> {
    let node = config.node.clone().filter(|_| !config.shared);
    match &node {
        None if !config.shared => {
            let sentence =
                "a pool that is not shared belongs to one node: name it, or share the pool";
            Err(PoolError::Setup(sentence.to_owned()))
        }
        Some(node) if node.as_str().len() > SEGMENT_BYTES_MAX => Err(PoolError::Setup(format!(
            "node id '{node}' is too long for a topology segment: use {SEGMENT_BYTES_MAX} bytes at most"
        ))),
        _ => Ok(Mark {
            version: VERSION,
            id: Uuid::new_v4().to_string(),
            shared: config.shared,
            node,
        }),
    }
}

fn make(layout: &Layout, wanted: Mark, known: Option<&Mark>) -> Result<Mark> {
    let root = layout.root();
    if let Some(known) = known {
        return Err(PoolError::Setup(format!(
            "'{}' held pool {} before and holds none now: mount it there",
            root.display(),
            known.id
        )));
    }
    files::create_dirs(root)?;
    for entry in fs::read_dir(root).at("read", root)? {
        let name = entry.at("read", root)?.file_name();
        let name = name.to_string_lossy();
        // A fresh ext4 has the first; the others are ours, from a start that did not get to the end.
        if name != "lost+found" && !name.starts_with(files::NEW) {
            if let Some(mark) = files::read(&layout.mark())? {
                return Ok(mark); // Another process has made the pool meanwhile.
            }
            return Err(PoolError::Setup(format!(
                "'{}' is no pool and is not empty (it has '{name}'): use an empty directory",
                root.display()
            )));
        }
    }
    let new = root.join(format!("{}{}", files::NEW, Uuid::new_v4().simple()));
    files::write_new(&new, &wanted)?;
    // Of two that make the pool at once, one is first: a link, unlike a rename, never replaces.
    let linked = fs::hard_link(&new, layout.mark());
    fs::remove_file(&new).at("remove", &new)?;
    match linked {
        Ok(()) => files::sync_dir(root)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(PoolError::io("create", &layout.mark(), error)),
    }
    Ok(files::read(&layout.mark())?.unwrap_or(wanted))
}

fn check(root: &Path, mark: &Mark, wanted: &Mark, known: Option<&Mark>) -> Result<()> {
    let root = root.display();
    let fault = if mark.version > VERSION {
        format!("'{root}' is of a later version of Stead: upgrade this one")
    } else if let Some(known) = known.filter(|known| known.id != mark.id) {
        format!(
            "'{root}' held pool {} before and holds {} now: mount the right one",
            known.id, mark.id
        )
    } else if mark.shared != wanted.shared {
        let (is, not) = if mark.shared { ("shared", "local") } else { ("local", "shared") };
        format!("'{root}' was made as a {is} pool and cannot be opened as a {not} one")
    } else if mark.node != wanted.node {
        let of = mark.node.as_ref().map_or("no node", NodeId::as_str);
        format!(
            "'{root}' is the pool of node '{of}': open it there, or keep the node's id as it was"
        )
    } else {
        return Ok(());
    };
    Err(PoolError::Setup(fault))
}
