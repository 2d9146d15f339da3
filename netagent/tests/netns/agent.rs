//! The agent as a whole: from a hold in the store to an address on the link and back.

use std::time::Duration;

use stead_model::hold::Stage;
use stead_model::name::{Epoch, Term};
use stead_model::port::DnsBackend;
use stead_netagent::dns::EmbeddedNames;
use stead_proto::stead::v1::agent_server::Agent as _;
use stead_proto::stead::v1::{ConvergeRequest, GetStatusRequest};
use tonic::Request;

use crate::cluster::{Cluster, Running, TTL, v4, v6};
use crate::support::{Pair, eventually, has, ip, not_root, on};

const SECOND: Duration = Duration::from_secs(1);

async fn converge(agent: &Running, member: &str) -> Result<Vec<String>, tonic::Status> {
    let request = ConvergeRequest { cluster: "prod".to_owned(), member: member.to_owned() };
    Ok(agent.service.converge(Request::new(request)).await?.into_inner().addresses)
}

/// As a node plugin does: it repeats while the agent is starting.
async fn converged(agent: &Running, member: &str) -> Vec<String> {
    for _ in 0..100 {
        match converge(agent, member).await {
            Err(status) if status.code() == tonic::Code::Unavailable => {}
            result => return result.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the agent never became ready");
}

#[test]
fn a_published_member_is_up_within_a_second_and_down_when_it_is_not() {
    if not_root("a_published_member_is_up_within_a_second_and_down_when_it_is_not") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = cluster.start("a", dir.path()).await;
        let member = cluster.member(0).await;
        assert!(converged(&agent, "mongo-0").await.is_empty());
        let term = cluster.publish(&member, "a").await;
        let up = || has(&host, &v4(0)) && has(&host, &v6(0));
        let took = eventually("both addresses are up", SECOND, up).await;
        eprintln!("both addresses were up after {took:?}");
        assert_eq!(converged(&agent, "mongo-0").await, [v4(0), v6(0)]);
        let assigned = cluster.address(&member, &v4(0)).await;
        assert_eq!((assigned.node.unwrap().as_str(), assigned.term), ("a", term));
        let names = EmbeddedNames::new(cluster.registry.clone());
        let name = "mongo-0.prod.stead.internal".parse().unwrap();
        let said = names.read(&name).await.unwrap().unwrap();
        assert_eq!((said.addresses.len(), said.port, said.term), (2, Some(27017), term));
        let status = agent.service.get_status(Request::new(GetStatusRequest {})).await;
        let status = status.unwrap().into_inner();
        assert_eq!((status.node.as_str(), status.addresses.len()), ("a", 2));
        assert!(status.lease_remaining_ms > 0 && status.addresses[0].interface == "eth0");

        cluster.reach(&member, "a", Stage::Staged).await;
        assert!(converged(&agent, "mongo-0").await.is_empty());
        assert!(!has(&host, &v4(0)) && !has(&host, &v6(0)), "gone when the call returns");
        assert!(names.read(&name).await.unwrap().is_some(), "DNS keeps its last word");
        assert!(cluster.address(&member, &v4(0)).await.node.is_some(), "and so does the network");
    });
}

#[test]
fn an_address_outlives_many_renewals_and_moves_with_the_hold() {
    if not_root("an_address_outlives_many_renewals_and_moves_with_the_hold") {
        return;
    }
    let pair = Pair::new();
    let (host_a, host_b) = (pair.a.clone(), pair.b.clone());
    on(&pair.a, async move || {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = cluster.start("a", dir.path()).await;
        let member = cluster.member(0).await;
        cluster.publish(&member, "a").await;
        assert_eq!(converged(&agent, "mongo-0").await.len(), 2);
        let until = tokio::time::Instant::now() + 2 * TTL;
        while tokio::time::Instant::now() < until {
            assert!(has(&host_a, &v4(0)) && has(&host_a, &v6(0)), "it went away under the lease");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        let other = cluster.clone();
        let moved = std::thread::spawn(move || {
            let pair_b = host_b.clone();
            on(&pair_b, async move || {
                let dir = tempfile::tempdir().unwrap();
                let agent = other.start("b", dir.path()).await;
                let member = "prod/mongo-0".parse().unwrap();
                other.publish(&member, "b").await;
                assert_eq!(converged(&agent, "mongo-0").await.len(), 2);
                assert!(has(&host_b, &v4(0)));
            });
        });
        let gone = || !has(&host_a, &v4(0)) && !has(&host_a, &v6(0));
        let within = 5 * SECOND;
        eventually("the former holder has taken them down", within, gone).await;
        tokio::task::spawn_blocking(move || moved.join()).await.unwrap().unwrap();
        let assigned = cluster.address(&member, &v4(0)).await;
        assert_eq!((assigned.node.unwrap().as_str(), assigned.term), ("b", Term(2)));
    });
}

#[test]
fn the_kernel_ends_what_a_dead_agent_held() {
    if not_root("the_kernel_ends_what_a_dead_agent_held") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = cluster.start("a", dir.path()).await;
        let member = cluster.member(0).await;
        cluster.publish(&member, "a").await;
        assert_eq!(converged(&agent, "mongo-0").await.len(), 2);
        agent.task.abort();
        let gone = || !has(&host, &v4(0)) && !has(&host, &v6(0));
        let took = eventually("the kernel has ended them", TTL + SECOND, gone).await;
        eprintln!("a lease of {TTL:?}: the addresses were gone after {took:?}");
    });
}

#[test]
fn a_node_that_cannot_renew_fences_itself_and_comes_back_with_the_next_epoch() {
    if not_root("a_node_that_cannot_renew_fences_itself_and_comes_back_with_the_next_epoch") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().unwrap();
        let mut agent = cluster.start("a", dir.path()).await;
        let (stays, taken) = (cluster.member(0).await, cluster.member(1).await);
        for member in [&stays, &taken] {
            cluster.publish(member, "a").await;
            assert_eq!(converged(&agent, member.member.as_str()).await.len(), 2);
        }
        cluster.store.set_reachable(false);
        agent.lease.wait_for(Option::is_none).await.unwrap();
        let gone = || !has(&host, &v4(0)) && !has(&host, &v4(1));
        eventually("it has fenced itself", SECOND, gone).await;
        assert!(converge(&agent, "mongo-0").await.is_err());

        cluster.store.set_reachable(true);
        // While it was away, another node took one of the two.
        let lease = cluster.lease("a").await.unwrap();
        cluster
            .registry
            .create(stead_model::record::NodeLease { node: "b".parse().unwrap(), ..lease })
            .await
            .unwrap();
        cluster.publish(&taken, "b").await;
        let up = || has(&host, &v4(0)) && has(&host, &v6(0));
        eventually("the one that it still holds is up again", 5 * SECOND, up).await;
        assert!(!has(&host, &v4(1)));
        let hold = cluster.hold(&stays).await;
        assert_eq!((hold.term, hold.holder.unwrap().epoch), (Term(1), agent.epoch.next()));
        assert_eq!(cluster.hold(&taken).await.holder.unwrap().node.as_str(), "b");
    });
}

#[test]
fn a_restart_within_the_lease_goes_on_and_removes_what_was_left_over() {
    if not_root("a_restart_within_the_lease_goes_on_and_removes_what_was_left_over") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = cluster.start("a", dir.path()).await;
        let (kept, moved) = (cluster.member(0).await, cluster.member(1).await);
        for member in [&kept, &moved] {
            cluster.publish(member, "a").await;
            assert_eq!(converged(&agent, member.member.as_str()).await.len(), 2);
        }
        agent.cancel.cancel();
        agent.task.await.unwrap();
        assert!(has(&host, &v4(0)) && has(&host, &v4(1)), "a clean stop takes nothing down");
        cluster.reach(&moved, "a", Stage::Staged).await;

        let second = cluster.start("a", dir.path()).await;
        assert_eq!(second.epoch, agent.epoch, "the lease never ended");
        let purged = || !has(&host, &v4(1)) && !has(&host, &v6(1));
        eventually("the leftover is gone", SECOND, purged).await;
        let until = tokio::time::Instant::now() + TTL + SECOND;
        while tokio::time::Instant::now() < until {
            assert!(has(&host, &v4(0)) && has(&host, &v6(0)), "the kept one had a gap");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn a_restart_after_the_lease_begins_the_next_epoch() {
    if not_root("a_restart_after_the_lease_begins_the_next_epoch") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = cluster.start("a", dir.path()).await;
        let member = cluster.member(0).await;
        cluster.publish(&member, "a").await;
        assert_eq!(converged(&agent, "mongo-0").await.len(), 2);
        agent.task.abort();
        tokio::time::sleep(TTL + SECOND).await;
        let second = cluster.start("a", dir.path()).await;
        assert_eq!(second.epoch, Epoch(2));
        let up = || has(&host, &v4(0)) && has(&host, &v6(0));
        eventually("the hold goes on in the next epoch", 2 * SECOND, up).await;
        second.task.abort();
        // After a boot, which empties the state directory, nothing is mounted: nothing comes up.
        let empty = tempfile::tempdir().unwrap();
        let third = cluster.start("a", empty.path()).await;
        assert_eq!(third.epoch, Epoch(3));
        assert!(converged(&third, "mongo-0").await.is_empty());
        assert!(!has(&host, &v4(0)));
        assert!(cluster.hold(&member).await.is_held_by(&"a".parse().unwrap(), Term(1)));
    });
}

#[test]
fn what_somebody_takes_away_comes_back() {
    if not_root("what_somebody_takes_away_comes_back") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = cluster.start("a", dir.path()).await;
        let member = cluster.member(0).await;
        cluster.publish(&member, "a").await;
        assert_eq!(converged(&agent, "mongo-0").await.len(), 2);
        ip(&format!("-n {host} addr del {}/32 dev eth0", v4(0)));
        assert!(!has(&host, &v4(0)));
        eventually("it is back", 5 * SECOND, || has(&host, &v4(0))).await;
    });
}

#[test]
fn hundreds_of_members_come_up_at_once_and_stay() {
    if not_root("hundreds_of_members_come_up_at_once_and_stay") {
        return;
    }
    const MEMBERS: u32 = 150;
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let cluster = Cluster::new().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = cluster.start("a", dir.path()).await;
        for ordinal in 0..MEMBERS {
            let member = cluster.member(ordinal).await;
            cluster.publish(&member, "a").await;
        }
        agent.task.abort();
        let flush = || ip(&format!("-n {host} addr flush dev eth0 to 10.9.0.100/30"));
        flush();
        let began = tokio::time::Instant::now();
        let _second = cluster.start("a", dir.path()).await;
        let up = || {
            let shown = ip(&format!("-n {host} -o addr show dev eth0"));
            shown.matches("/32").count() == MEMBERS as usize
                && shown.matches("/128").count() == MEMBERS as usize
        };
        eventually("all are up", 5 * SECOND, up).await;
        eprintln!("{MEMBERS} members with two addresses each were up after {:?}", began.elapsed());
        tokio::time::sleep(TTL + SECOND).await;
        assert!(up(), "all are still up, a lease later");
    });
}
