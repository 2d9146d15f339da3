//! Who may open an image: compare-and-swap on `claim.json` under the volume's lock.

use stead_model::image::{BACKEND_KEY, Claim, DIRECT_IO_KEY, Layout};
use stead_model::name::{NodeId, Term, VolumeId};
use stead_model::port::{Attach, Attachment};

use super::error::{PoolError, Result};
use super::parameters::{self, Parameters};
use super::{files, volume};

/// What the pool is called in `publish_context`.
const BACKEND: &str = "pool";

/// The claim on a volume; that of one never attached is empty.
pub(crate) fn read(layout: &Layout, id: &VolumeId) -> Result<Claim> {
    Ok(files::read(&layout.claim(id))?.unwrap_or_default())
}

/// Refuses where the volume is attached.
pub(crate) fn require_none(layout: &Layout, id: &VolumeId) -> Result<()> {
    let claim = read(layout, id)?;
    match claim.node {
        Some(node) => Err(PoolError::Attached { id: id.to_string(), node, term: claim.term }),
        None => Ok(()),
    }
}

/// How a copy of the volume can be of one time: at all (`Ok(None)`), only in one step (the error where
/// the file system has none) or not now.
pub(crate) fn cut(layout: &Layout, id: &VolumeId, shared: bool) -> Result<Option<PoolError>> {
    let Some(node) = read(layout, id)?.node else { return Ok(None) };
    let error = PoolError::NoCut { id: id.to_string(), node };
    // The page cache of that node may hold writes that this one cannot see.
    if shared { Err(error) } else { Ok(Some(error)) }
}

/// Claims the volume. The caller has the lock.
pub(crate) fn attach(layout: &Layout, request: &Attach) -> Result<Attachment> {
    let id = &request.volume;
    let claim = read(layout, id)?;
    let other = claim.node.as_ref().filter(|node| **node != request.node);
    if let Some(node) = other {
        let (node, term) = (node.clone(), claim.term);
        return Err(PoolError::Attached { id: id.to_string(), node, term });
    }
    if request.term < claim.term {
        return Err(PoolError::OldTerm {
            id: id.to_string(),
            asked: request.term,
            now: claim.term,
        });
    }
    let next = Claim { node: Some(request.node.clone()), term: request.term };
    write(layout, id, &claim, &next)?;
    let parameters: Parameters = files::read(&volume::parameters(layout, id))?.unwrap_or_default();
    let direct_io = parameters::value(&parameters, parameters::DIRECT_IO)?;
    Ok(Attachment::from([
        (BACKEND_KEY.to_owned(), BACKEND.to_owned()),
        (DIRECT_IO_KEY.to_owned(), direct_io),
    ]))
}

/// Ends the claim of this node, and of no other. The caller has the lock.
pub(crate) fn detach(layout: &Layout, id: &VolumeId, node: &NodeId) -> Result<()> {
    let claim = read(layout, id)?;
    if claim.node.as_ref() != Some(node) {
        return Ok(());
    }
    write(layout, id, &claim, &Claim { node: None, term: claim.term })
}

/// Raises the term and ends a claim of a lower one. The caller has the lock.
pub(crate) fn fence(layout: &Layout, id: &VolumeId, term: Term) -> Result<()> {
    let claim = read(layout, id)?;
    if claim.term >= term {
        return Ok(());
    }
    write(layout, id, &claim, &Claim { node: None, term })
}

fn write(layout: &Layout, id: &VolumeId, old: &Claim, new: &Claim) -> Result<()> {
    if old == new {
        return Ok(());
    }
    files::replace(&layout.claim(id), new)
}
