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
    /// is [`Kind::Precondition`](crate::Kind) and changes nothing; the same term may correct it. A name
    /// without addresses is [`Kind::Invalid`](crate::Kind).
    async fn upsert(&self, name: &DnsName) -> Result<()>;

    /// Removes the name. Absent is success; a lower term than the one that stands is
    /// [`Kind::Precondition`](crate::Kind).
    async fn delete(&self, name: &DomainName, term: Term) -> Result<()>;

    /// What the name says now; nothing where it is absent.
    async fn read(&self, name: &DomainName) -> Result<Option<DnsName>>;
}

/// What every [`DnsBackend`] has to pass.
#[cfg(any(test, feature = "contract"))]
#[allow(clippy::unwrap_used)] // A contract is a test: its failure is a panic.
pub mod contract {
    use super::DnsBackend;
    use crate::Kind;
    use crate::name::{DomainName, Term};
    use crate::record::DnsName;

    fn name(address: &str, term: u64) -> DnsName {
        DnsName {
            name: fqdn(),
            zone: "prod.stead.internal".parse().unwrap(),
            service: "mongo".parse().unwrap(),
            port: Some(27017),
            addresses: vec![address.parse().unwrap()],
            term: Term(term),
        }
    }

    fn fqdn() -> DomainName {
        "mongo-0.prod.stead.internal".parse().unwrap()
    }

    /// Runs every clause, each on an implementation of its own.
    pub async fn all<B: DnsBackend>(fresh: impl AsyncFn() -> B) {
        a_name_says_what_was_written(&fresh().await).await;
        a_late_holder_changes_nothing(&fresh().await).await;
        the_same_term_may_correct(&fresh().await).await;
        a_name_without_addresses_is_refused(&fresh().await).await;
        a_name_can_be_deleted_by_its_holder_only(&fresh().await).await;
        racing_writers_leave_the_highest_term(&fresh().await).await;
    }

    /// What was written is read back whole; a repeat succeeds.
    pub async fn a_name_says_what_was_written(backend: &dyn DnsBackend) {
        assert_eq!(backend.read(&fqdn()).await.unwrap(), None);
        for _ in 0..2 {
            backend.upsert(&name("10.0.0.1", 1)).await.unwrap();
            assert_eq!(backend.read(&fqdn()).await.unwrap(), Some(name("10.0.0.1", 1)));
        }
        let both = DnsName {
            addresses: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            ..name("10.0.0.2", 2)
        };
        backend.upsert(&both).await.unwrap();
        let mut read = backend.read(&fqdn()).await.unwrap().unwrap();
        read.addresses.sort();
        assert_eq!(read, both);
    }

    /// A lower term is refused and changes nothing.
    pub async fn a_late_holder_changes_nothing(backend: &dyn DnsBackend) {
        backend.upsert(&name("10.0.0.2", 2)).await.unwrap();
        let error = backend.upsert(&name("10.0.0.1", 1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Precondition, "{error}");
        let error = backend.delete(&fqdn(), Term(1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Precondition, "{error}");
        assert_eq!(backend.read(&fqdn()).await.unwrap(), Some(name("10.0.0.2", 2)));
    }

    /// The holder may write again with other values.
    pub async fn the_same_term_may_correct(backend: &dyn DnsBackend) {
        backend.upsert(&name("10.0.0.2", 2)).await.unwrap();
        backend.upsert(&name("10.0.0.3", 2)).await.unwrap();
        assert_eq!(backend.read(&fqdn()).await.unwrap(), Some(name("10.0.0.3", 2)));
    }

    /// An answer is never empty, so neither is a name.
    pub async fn a_name_without_addresses_is_refused(backend: &dyn DnsBackend) {
        let empty = DnsName { addresses: Vec::new(), ..name("10.0.0.1", 1) };
        let error = backend.upsert(&empty).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }

    /// Deleting works with the term that stands or a later one; absent is success.
    pub async fn a_name_can_be_deleted_by_its_holder_only(backend: &dyn DnsBackend) {
        backend.delete(&fqdn(), Term(1)).await.unwrap();
        backend.upsert(&name("10.0.0.2", 2)).await.unwrap();
        backend.delete(&fqdn(), Term(2)).await.unwrap();
        backend.delete(&fqdn(), Term(2)).await.unwrap();
        assert_eq!(backend.read(&fqdn()).await.unwrap(), None);
    }

    /// Whatever the order in which they arrive, the highest term stands in the end.
    pub async fn racing_writers_leave_the_highest_term(backend: &dyn DnsBackend) {
        let names: Vec<_> = (1..=8).map(|term| name(&format!("10.0.0.{term}"), term)).collect();
        let results = futures::future::join_all(names.iter().map(|it| backend.upsert(it))).await;
        results.last().unwrap().as_ref().unwrap();
        assert_eq!(backend.read(&fqdn()).await.unwrap(), Some(name("10.0.0.8", 8)));
    }
}
