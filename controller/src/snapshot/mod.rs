//! Snapshots, alone and in groups.

mod group;
mod list;
mod take;

pub(crate) use group::Group;
pub(crate) use list::Filter;
pub(crate) use take::inherited;
