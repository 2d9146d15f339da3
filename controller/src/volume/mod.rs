//! The life of a volume, one file for each thing that happens in it.

mod create;
mod delete;
mod list;
mod publish;
mod resize;

pub(crate) use create::Create;
pub(crate) use list::Listed;
pub(crate) use publish::Publish;
