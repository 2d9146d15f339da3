//! The kernel's side of addresses, in network namespaces.

use std::net::IpAddr;
use std::time::Duration;

use crate::support::{Pair, eventually, has, ip, not_root, on};
use stead_netagent::announce::Announcer;
use stead_netagent::kernel::{Carried, Kernel};
use stead_netagent::{Error, Link};

const V4: &str = "10.9.0.77";
const V6: &str = "fd09::77";

async fn carry(kernel: &Kernel, address: &str, seconds: u32) -> Result<Link, Error> {
    let address: IpAddr = address.parse().unwrap();
    let link = kernel.link_for(address, None).await?;
    kernel.carry(address, &link, seconds).await?;
    Ok(link)
}

#[test]
fn an_address_comes_marked_and_exact_and_goes() {
    if not_root("an_address_comes_marked_and_exact_and_goes") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let kernel = Kernel::open().unwrap();
        for address in [V4, V6] {
            assert_eq!(carry(&kernel, address, 30).await.unwrap().name, "eth0");
            carry(&kernel, address, 40).await.expect("renewing is the same call");
        }
        let tagged = kernel.tagged().await.unwrap();
        assert_eq!(tagged.len(), 2);
        assert!(tagged.iter().all(|it| it.seconds.is_some_and(|left| (35..=40).contains(&left))));
        assert!(kernel.list().await.unwrap().addresses.len() > 2, "there are unmarked ones");
        let shown = ip(&format!("-n {host} -details addr show dev eth0"));
        assert!(shown.contains(&format!("{V4}/32")), "{shown}");
        assert!(shown.contains(&format!("{V6}/128")), "{shown}");
        let v6 = shown.lines().find(|line| line.contains(V6)).unwrap();
        assert!(!v6.contains("tentative"), "{v6}");
        let routes = ip(&format!("-n {host} -6 route show"));
        assert!(!routes.contains(V6), "{routes}");
        let both = [V4.parse().unwrap(), V6.parse().unwrap()];
        assert_eq!(kernel.remove(&both).await.unwrap(), 2);
        assert_eq!(kernel.remove(&both).await.unwrap(), 0);
        assert!(!has(&host, V4) && !has(&host, V6));
        assert!(has(&host, "10.9.0.1") && has(&host, "fd09::1"));
    });
}

#[test]
fn the_kernel_alone_ends_an_address() {
    if not_root("the_kernel_alone_ends_an_address") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    // The runtime, and with it the netlink socket, is gone when this returns.
    on(&pair.a, async || {
        let kernel = Kernel::open().unwrap();
        carry(&kernel, V4, 2).await.unwrap();
        carry(&kernel, V6, 2).await.unwrap();
    });
    on(&pair.b, async move || {
        assert!(has(&host, V4) && has(&host, V6));
        let gone = || !has(&host, V4) && !has(&host, V6);
        let took = eventually("both are gone", Duration::from_secs(5), gone).await;
        eprintln!("both addresses of 2 s were gone after {took:?}");
    });
}

#[test]
fn an_address_of_somebody_else_is_left_alone() {
    if not_root("an_address_of_somebody_else_is_left_alone") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        ip(&format!("-n {host} addr add {V4}/32 dev eth0"));
        ip(&format!("-n {host} addr add {V6}/128 dev eth0 nodad"));
        let kernel = Kernel::open().unwrap();
        for address in [V4, V6, "10.9.0.1"] {
            let error = carry(&kernel, address, 30).await.unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{error}");
            assert_eq!(kernel.remove(&[address.parse().unwrap()]).await.unwrap(), 0);
        }
        let shown = ip(&format!("-n {host} addr show dev eth0"));
        for address in [V4, V6] {
            let at = shown.find(address).unwrap();
            let lifetimes = shown[at..].lines().nth(1).unwrap();
            assert!(lifetimes.contains("valid_lft forever"), "{shown}");
        }
        // Also where it appears behind our back, after we had last looked.
        carry(&kernel, "10.9.0.78", 30).await.unwrap();
        ip(&format!("-n {host} addr add 10.9.0.79/32 dev eth0"));
        let error = carry(&kernel, "10.9.0.79", 30).await.unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    });
}

#[test]
fn a_member_is_no_source_unless_it_is_the_only_one() {
    if not_root("a_member_is_no_source_unless_it_is_the_only_one") {
        return;
    }
    let pair = Pair::new();
    let host = pair.a.clone();
    on(&pair.a, async move || {
        let kernel = Kernel::open().unwrap();
        carry(&kernel, V6, 30).await.unwrap();
        let route = ip(&format!("-n {host} route get fd09::2"));
        assert!(route.contains("src fd09::1"), "{route}");
        ip(&format!("-n {host} addr del fd09::1/64 dev eth0"));
        ip(&format!("-n {host} route add fd09::/64 dev eth0"));
        tokio::time::sleep(Duration::from_millis(600)).await;
        let link = kernel.link_for("10.9.0.9".parse().unwrap(), None).await.unwrap();
        kernel.carry(V6.parse().unwrap(), &link, 30).await.unwrap();
        let route = ip(&format!("-n {host} route get fd09::2"));
        assert!(route.contains(&format!("src {V6}")), "{route}");
    });
}

#[test]
fn without_a_link_the_error_says_what_to_do() {
    if not_root("without_a_link_the_error_says_what_to_do") {
        return;
    }
    let pair = Pair::new();
    on(&pair.a, async || {
        let kernel = Kernel::open().unwrap();
        let error = carry(&kernel, "192.0.2.1", 30).await.unwrap_err().to_string();
        assert!(error.contains("name one in the pool"), "{error}");
    });
}

#[test]
fn a_neighbour_learns_of_a_move_at_once() {
    if not_root("a_neighbour_learns_of_a_move_at_once") {
        return;
    }
    let pair = Pair::new();
    let (a, b) = (pair.a.clone(), pair.b.clone());
    on(&pair.a, async move || {
        let wrong = "02:00:00:00:00:99";
        for address in [V4, V6] {
            ip(&format!("-n {b} neigh replace {address} lladdr {wrong} nud stale dev eth0"));
        }
        let kernel = Kernel::open().unwrap();
        let announcer = Announcer::open().unwrap();
        let mac = ip(&format!("-n {a} -brief link show dev eth0"));
        let mac = mac.split_whitespace().nth(2).unwrap();
        for address in [V4, V6] {
            let link = carry(&kernel, address, 30).await.unwrap();
            announcer.announce(&Carried { address: address.parse().unwrap(), link }).unwrap();
            let learnt = || ip(&format!("-n {b} neigh show {address}")).contains(mac);
            eventually("the neighbour has learnt it", Duration::from_secs(2), learnt).await;
        }
    });
}
