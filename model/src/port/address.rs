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
    /// member; a pool with none left is [`Kind::Exhausted`](crate::Kind).
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
