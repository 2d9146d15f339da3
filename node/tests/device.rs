//! Devices and the whole plugin under many calls at once.
#![allow(missing_docs, clippy::unwrap_used)]

mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rig::{How, MIB, NODE, Rig, root};
use stead_model::image::DIRECT_IO_KEY;
use stead_model::name::Term;
use stead_model::orchestrator::Orchestrator;
use stead_node::device::loops::{self, Identity};
use stead_node::device::{Attach, DeviceFinder, Pool};
use stead_proto::csi::v1::node_server::Node;
use stead_proto::csi::v1::node_service_capability::Type as Capability;
use stead_proto::csi::v1::node_service_capability::rpc::Type;
use stead_proto::csi::v1::{NodeGetCapabilitiesRequest, NodeGetInfoRequest};
use tonic::{Code, Request};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_made_once_and_as_it_was_asked_for() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::None).await;
    let pool = Pool::new(NODE.parse().unwrap(), rig.layout.root().to_owned());
    for (direct, expected) in [("off", Some(false)), ("on", Some(true)), ("auto", None)] {
        let volume = rig.volume(8 * MIB, None).await;
        let mut attach = Attach {
            volume: volume.clone(),
            context: BTreeMap::from([(DIRECT_IO_KEY.to_owned(), direct.to_owned())]),
            term: Term(1),
            readonly: false,
            transient: true,
        };
        let first = match pool.attach(&attach).await {
            Ok(device) => device,
            // Not every file system below a test can do it.
            Err(error) if direct == "on" => {
                assert!(error.to_string().contains("direct-io=auto"), "{error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let second = pool.attach(&attach).await.unwrap();
        assert_eq!((&first.path, first.term), (&second.path, Some(Term(1))));
        let device = loops::open(&first.path).unwrap().unwrap();
        assert_eq!(device.identity, Identity::of(&rig.image(&volume)).unwrap());
        assert!(expected.is_none_or(|expected| expected == device.direct), "{direct}");
        assert_eq!(pool.identify(&first.path).await.unwrap(), Some(volume.clone()));
        rig.give(&volume, NODE, 2).await;
        attach.term = Term(2);
        assert!(pool.attach(&attach).await.is_err(), "a device of an earlier term was used");
        drop((first, second, device));
        assert!(rig.device_goes(&volume).await, "it goes with its last opener");
        attach.context.insert(DIRECT_IO_KEY.to_owned(), "perhaps".into());
        assert!(pool.attach(&attach).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_stranger_never_leads_out_of_the_pool() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::None).await;
    let pool = Pool::new(NODE.parse().unwrap(), rig.layout.root().to_owned());
    let volume = rig.volume(8 * MIB, None).await;
    let attach = Attach {
        volume: volume.clone(),
        context: BTreeMap::new(),
        term: Term(1),
        readonly: false,
        transient: false,
    };
    drop(pool.attach(&attach).await.unwrap());
    let elsewhere = rig.layout.root().join("elsewhere");
    std::fs::create_dir_all(elsewhere.join("volumes")).unwrap();
    let other = Pool::new(NODE.parse().unwrap(), elsewhere);
    let stranger = format!("../../volumes/{volume}").parse().unwrap();
    assert!(other.find(&stranger).await.unwrap().is_empty());
    other.detach(&stranger).await.unwrap();
    assert_eq!(rig.devices(&volume), 1, "the device of another pool was taken away");
    pool.detach(&volume).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_volumes_at_once_get_a_device_each() {
    if !root() {
        return;
    }
    const VOLUMES: usize = 24;
    let rig = Arc::new(Rig::new(Orchestrator::Swarm).await);
    let mut tasks = Vec::new();
    for index in 0..VOLUMES {
        let rig = rig.clone();
        let id = rig.volume(16 * MIB, None).await;
        tasks.push(tokio::spawn(async move {
            let (how, target) = (How::fs("ext4"), format!("target-{index}"));
            rig.publish(&id, &target, &how).await.unwrap();
            std::fs::write(rig.path(&target).join("who"), id.as_str()).unwrap();
            id
        }));
    }
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    for (index, id) in ids.iter().enumerate() {
        let target = format!("target-{index}");
        let who = std::fs::read_to_string(rig.path(&target).join("who")).unwrap();
        assert_eq!(who, id.as_str());
        rig.unpublish(id, &target).await.unwrap();
        assert_eq!(rig.devices(id), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_joins_and_another_one_is_told_to_wait() {
    if !root() {
        return;
    }
    let rig = Rig::new(Orchestrator::None).await;
    let id = rig.volume(64 * MIB, None).await;
    let how = How::fs("ext4");
    let (first, second, other) =
        tokio::join!(rig.stage(&id, &how), rig.stage(&id, &how), rig.unstage(&id));
    first.unwrap();
    second.unwrap();
    assert_eq!(other.unwrap_err().code(), Code::Aborted);
    assert_eq!(rig.devices(&id), 1);
}

#[tokio::test]
async fn what_is_advertised_depends_on_the_orchestrator() {
    for orchestrator in Orchestrator::ALL {
        let rig = Rig::new(orchestrator).await;
        let capabilities =
            rig.service.node_get_capabilities(Request::new(NodeGetCapabilitiesRequest {})).await;
        let types: BTreeSet<_> = capabilities
            .unwrap()
            .into_inner()
            .capabilities
            .into_iter()
            .filter_map(|capability| match capability.r#type? {
                Capability::Rpc(rpc) => Some(rpc.r#type()),
            })
            .collect();
        let swarm = orchestrator == Orchestrator::Swarm;
        assert_eq!(types.contains(&Type::StageUnstageVolume), !swarm);
        assert!(types.contains(&Type::GetVolumeHealth) && types.contains(&Type::ExpandVolume));
        let info = rig.service.node_get_info(Request::new(NodeGetInfoRequest {})).await;
        let info = info.unwrap().into_inner();
        assert_eq!((info.node_id.as_str(), info.max_volumes_per_node), (NODE, 0));
        assert_eq!(info.accessible_topology.is_none(), swarm);
    }
}
