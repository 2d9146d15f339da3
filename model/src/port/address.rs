//! `AddressBackend`: what a network has to be told so that an address leads to a node.

use std::net::IpAddr;

use async_trait::async_trait;

use crate::Result;
use crate::name::{ClusterName, MemberKey, NodeId, Term};
use crate::record::AddressPool;

/// Who an address belongs to and where the network sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The member that the address was allocated to.
    pub owner: MemberKey,
    /// The node that the network sends it to; none before the first assignment.
    pub node: Option<NodeId>,
    /// The term of the last assignment: a lower one is refused from then on.
    pub term: Term,
}

/// The network's side of static addresses; the kernel's side is the agent's own.
///
/// An address is allocated to a member for as long as the member exists and is assigned to one node
/// at a time. It stays with the old node until the next takes it: an address that nobody has could
/// be given to a stranger.
#[async_trait]
pub trait AddressBackend: Send + Sync {
    /// Reserves an address of the pool for `owner`: `wanted`, or a free one. Repeating it returns
    /// the same address. A `wanted` address outside the pool is [`Kind::Invalid`](crate::Kind), one
    /// that another member has is [`Kind::AlreadyExists`](crate::Kind) and the message names that
    /// member; a pool with none left is [`Kind::Exhausted`](crate::Kind). A free one is of the family
    /// of the pool's first subnet: for the other family, narrow the pool to that family's subnets.
    async fn allocate(
        &self,
        pool: &AddressPool,
        owner: &MemberKey,
        wanted: Option<IpAddr>,
    ) -> Result<IpAddr>;

    /// Gives the address back. Freeing one that `owner` does not have succeeds and changes nothing.
    async fn free(&self, address: IpAddr, owner: &MemberKey) -> Result<()>;

    /// Has the network send the address to `node`. Repeating it succeeds. A term below that of the
    /// last assignment, or the same term for another node, is [`Kind::Precondition`](crate::Kind)
    /// and changes nothing; an address that nobody allocated is [`Kind::NotFound`](crate::Kind).
    async fn assign(
        &self,
        cluster: &ClusterName,
        address: IpAddr,
        node: &NodeId,
        term: Term,
    ) -> Result<()>;

    /// Takes the address from `node`, if the network still sends it there; from nobody else.
    async fn unassign(&self, cluster: &ClusterName, address: IpAddr, node: &NodeId) -> Result<()>;

    /// Who has the address; nothing where it is not allocated.
    async fn assignment(
        &self,
        cluster: &ClusterName,
        address: IpAddr,
    ) -> Result<Option<Assignment>>;
}

/// What every [`AddressBackend`] has to pass.
#[cfg(any(test, feature = "contract"))]
#[allow(clippy::unwrap_used)] // A contract is a test: its failure is a panic.
pub mod contract {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use super::AddressBackend;
    use crate::Kind;
    use crate::address::parse_subnet;
    use crate::name::{ClusterName, MemberKey, NodeId, Term};
    use crate::record::AddressPool;

    fn pool(subnet: &str) -> AddressPool {
        AddressPool {
            cluster: "c".parse().unwrap(),
            name: "p".parse().unwrap(),
            subnets: vec![parse_subnet(subnet).unwrap()],
            reserved: BTreeSet::new(),
            interface: None,
        }
    }

    fn member(ordinal: usize) -> MemberKey {
        format!("c/m-{ordinal}").parse().unwrap()
    }

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn cluster() -> ClusterName {
        "c".parse().unwrap()
    }

    /// Runs every clause, each on an implementation of its own.
    pub async fn all<B: AddressBackend>(fresh: impl AsyncFn() -> B) {
        a_repeat_gets_the_same(&fresh().await).await;
        each_gets_another_until_none_is_left(&fresh().await).await;
        a_wanted_address_is_given_or_refused_with_the_reason(&fresh().await).await;
        a_freed_address_can_be_had_again(&fresh().await).await;
        a_repeat_after_a_neighbour_left_gets_the_same(&fresh().await).await;
        a_stranger_frees_nothing(&fresh().await).await;
        an_assignment_follows_the_term(&fresh().await).await;
        an_unassignment_names_its_node(&fresh().await).await;
        racing_members_never_share(&fresh().await).await;
    }

    /// Repeating an allocation returns the same address, in both families.
    pub async fn a_repeat_gets_the_same(backend: &dyn AddressBackend) {
        for subnet in ["10.0.0.0/24", "fd00::/64"] {
            let pool = pool(subnet);
            let first = backend.allocate(&pool, &member(0), None).await.unwrap();
            pool.check(first).unwrap();
            assert_eq!(backend.allocate(&pool, &member(0), None).await.unwrap(), first);
            assert_eq!(backend.allocate(&pool, &member(0), Some(first)).await.unwrap(), first);
            let assignment = backend.assignment(&cluster(), first).await.unwrap().unwrap();
            assert_eq!((assignment.owner, assignment.node), (member(0), None));
        }
    }

    /// No address is given twice, every one is given, and then the pool is exhausted.
    pub async fn each_gets_another_until_none_is_left(backend: &dyn AddressBackend) {
        let pool = pool("10.0.0.0/28");
        let mut given = BTreeSet::new();
        for ordinal in 0..14 {
            let address = backend.allocate(&pool, &member(ordinal), None).await.unwrap();
            assert!(given.insert(address), "{address} was given twice");
        }
        let error = backend.allocate(&pool, &member(14), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    }

    /// A wanted address: inside the pool or invalid, free or named with its owner.
    pub async fn a_wanted_address_is_given_or_refused_with_the_reason(
        backend: &dyn AddressBackend,
    ) {
        let pool = pool("10.0.0.0/24");
        let wanted: IpAddr = "10.0.0.77".parse().unwrap();
        assert_eq!(backend.allocate(&pool, &member(0), Some(wanted)).await.unwrap(), wanted);
        assert_eq!(backend.allocate(&pool, &member(0), Some(wanted)).await.unwrap(), wanted);
        assert_eq!(backend.allocate(&pool, &member(0), None).await.unwrap(), wanted);
        let error = backend.allocate(&pool, &member(1), Some(wanted)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
        assert!(error.to_string().contains("c/m-0"), "{error}");
        let outside = "10.0.1.1".parse().unwrap();
        let error = backend.allocate(&pool, &member(0), Some(outside)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }

    /// What was freed is free; freeing it again changes nothing.
    pub async fn a_freed_address_can_be_had_again(backend: &dyn AddressBackend) {
        let pool = pool("10.0.0.4/32");
        let address = backend.allocate(&pool, &member(0), None).await.unwrap();
        assert!(backend.allocate(&pool, &member(1), None).await.is_err());
        backend.free(address, &member(0)).await.unwrap();
        backend.free(address, &member(0)).await.unwrap();
        assert_eq!(backend.assignment(&cluster(), address).await.unwrap(), None);
        assert_eq!(backend.allocate(&pool, &member(1), None).await.unwrap(), address);
    }

    /// Whoever leaves, a member that stays keeps its address.
    pub async fn a_repeat_after_a_neighbour_left_gets_the_same(backend: &dyn AddressBackend) {
        let pool = pool("10.0.0.0/29");
        let mut given = Vec::new();
        for ordinal in 0..6 {
            given.push(backend.allocate(&pool, &member(ordinal), None).await.unwrap());
        }
        for gone in (0..6).step_by(2) {
            backend.free(given[gone], &member(gone)).await.unwrap();
        }
        for stays in (1..6).step_by(2) {
            let again = backend.allocate(&pool, &member(stays), None).await.unwrap();
            assert_eq!(again, given[stays]);
        }
    }

    /// Only the owner frees.
    pub async fn a_stranger_frees_nothing(backend: &dyn AddressBackend) {
        let address = backend.allocate(&pool("10.0.0.0/24"), &member(0), None).await.unwrap();
        backend.free(address, &member(1)).await.unwrap();
        let assignment = backend.assignment(&cluster(), address).await.unwrap();
        assert_eq!(assignment.unwrap().owner, member(0));
    }

    /// A lower term, or the same for another node, is refused and changes nothing.
    pub async fn an_assignment_follows_the_term(backend: &dyn AddressBackend) {
        let address = backend.allocate(&pool("10.0.0.0/24"), &member(0), None).await.unwrap();
        let assign = async |name: &str, term: u64| {
            backend.assign(&cluster(), address, &node(name), Term(term)).await
        };
        assign("a", 3).await.unwrap();
        assign("a", 3).await.unwrap();
        for (name, term) in [("b", 3), ("b", 2), ("a", 2)] {
            let error = assign(name, term).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Precondition, "{name} {term}: {error}");
        }
        let stands = backend.assignment(&cluster(), address).await.unwrap().unwrap();
        assert_eq!((stands.node, stands.term), (Some(node("a")), Term(3)));
        assign("b", 4).await.unwrap();
        let stands = backend.assignment(&cluster(), address).await.unwrap().unwrap();
        assert_eq!((stands.node, stands.term), (Some(node("b")), Term(4)));
        let free = "10.0.0.0".parse().unwrap();
        let error = backend.assign(&cluster(), free, &node("a"), Term(9)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{error}");
    }

    /// Taking the address from a node that does not have it leaves it where it is.
    pub async fn an_unassignment_names_its_node(backend: &dyn AddressBackend) {
        let address = backend.allocate(&pool("10.0.0.0/24"), &member(0), None).await.unwrap();
        backend.assign(&cluster(), address, &node("a"), Term(1)).await.unwrap();
        backend.unassign(&cluster(), address, &node("b")).await.unwrap();
        let stands = backend.assignment(&cluster(), address).await.unwrap().unwrap();
        assert_eq!(stands.node, Some(node("a")));
        for _ in 0..2 {
            backend.unassign(&cluster(), address, &node("a")).await.unwrap();
        }
        let stands = backend.assignment(&cluster(), address).await.unwrap().unwrap();
        assert_eq!(stands.node, None);
        let error = backend.assign(&cluster(), address, &node("b"), Term(0)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Precondition, "the term outlives the node: {error}");
    }

    /// Members that allocate at the same time get different addresses.
    pub async fn racing_members_never_share(backend: &dyn AddressBackend) {
        let pool = pool("10.0.0.0/28");
        let members: Vec<_> = (0..14).map(member).collect();
        let all = members.iter().map(|owner| backend.allocate(&pool, owner, None));
        let given = futures::future::try_join_all(all).await.unwrap();
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 14);
    }
}
