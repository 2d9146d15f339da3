//! `DnsBackend`: names that follow their members.

use async_trait::async_trait;

use crate::Result;
use crate::name::{DomainName, Term};
use crate::record::DnsName;

/// The names of a cluster's zone.
///
/// A write replaces all of a name's records in one step, so that no reader ever finds it empty, and
/// it carries the term, so that a late holder cannot undo a later one's write.
#[async_trait]
pub trait DnsBackend: Send + Sync {
    /// Makes the name say exactly this. Repeating it succeeds. A lower term than the one that stands
    /// is [`Kind::Precondition`](crate::Kind) and changes nothing; the same term may correct it.
    async fn upsert(&self, name: &DnsName) -> Result<()>;

    /// Removes the name. Absent is success; a lower term than the one that stands is
    /// [`Kind::Precondition`](crate::Kind).
    async fn delete(&self, name: &DomainName, term: Term) -> Result<()>;

    /// What the name says now; nothing where it is absent.
    async fn read(&self, name: &DomainName) -> Result<Option<DnsName>>;
}
