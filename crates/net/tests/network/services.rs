//! Services: who answers, whom they see, who is refused.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use gifee_net::Protocol;
use gifee_net::service::{Endpoint, ServicePort};

use crate::harness::{
    HOST, WORLD, ask, ask_udp, count, on_host, refused, serve, service, silent, silent_udp, udp, unreachable,
};

const WEB: &str = "10.96.0.20:80";

#[test]
fn cluster_ip_balances_for_pods_and_host() {
    on_host(|host| async move {
        let (one, two) = (host.server("one").await, host.server("two").await);
        let client = host.pod("client").await;
        host.apply(&[service("web", "10.96.0.20", Protocol::Tcp, &[&one, &two])]).await;
        for place in [Some(client.netns.as_path()), None] {
            let counts = count(place, WEB, 60);
            assert_eq!(counts.keys().collect::<Vec<_>>(), ["one", "two"]);
            assert!(counts.values().all(|times| *times > 10), "{counts:?}");
        }
        let seen = ask(Some(&client.netns), WEB).unwrap();
        assert!(seen.ends_with(&client.address.to_string()), "the source is kept: {seen}");
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    on_host(|host| async move {
        let one = host.server("one").await;
        host.apply(&[service("web", "10.96.0.20", Protocol::Tcp, &[&one])]).await;
        assert_eq!(ask(Some(&one.netns), WEB).unwrap(), "one 10.244.0.1");
    });
}

#[test]
fn without_bridge_netfilter_nothing_changes() {
    on_host(|host| async move {
        std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0").unwrap();
        let one = host.server("one").await;
        let client = host.pod("client").await;
        host.apply(&[service("web", "10.96.0.20", Protocol::Tcp, &[&one])]).await;
        assert_eq!(ask(Some(&client.netns), WEB).unwrap(), format!("one {}", client.address));
        assert_eq!(ask(Some(&one.netns), WEB).unwrap(), "one 10.244.0.1");
    });
}

#[test]
fn no_endpoint_no_port_and_no_service_are_refused() {
    on_host(|host| async move {
        let client = host.pod("client").await;
        let node = format!("{HOST}:30080");
        let port = ServicePort { node_port: Some(30080), ..service("web", "10.96.0.20", Protocol::Tcp, &[]) };
        host.apply(&[port, service("dns", "10.96.0.21", Protocol::Udp, &[])]).await;
        for place in [Some(client.netns.as_path()), None] {
            assert!(refused(ask(place, WEB)));
            assert!(refused(ask(place, "10.96.0.20:81")));
            assert!(refused(ask(place, "10.96.7.7:80")));
            assert!(refused(ask(place, &node)));
            // A process of the host learns of the refusal as it sends.
            let answer = ask_udp(&udp(place, "10.96.0.21:80")).map_err(|error| error.kind());
            let expected =
                if place.is_some() { ErrorKind::ConnectionRefused } else { ErrorKind::PermissionDenied };
            assert_eq!(answer, Err(expected));
        }
        assert!(refused(ask(Some(&host.world()), &node)));
    });
}

#[test]
fn node_ports_answer_everywhere() {
    on_host(|host| async move {
        let one = host.server("one").await;
        let client = host.pod("client").await;
        let tcp =
            ServicePort { node_port: Some(30080), ..service("web", "10.96.0.20", Protocol::Tcp, &[&one]) };
        let datagrams =
            ServicePort { node_port: Some(30080), ..service("web", "10.96.0.20", Protocol::Udp, &[&one]) };
        host.apply(&[tcp, datagrams]).await;
        let world = host.world();
        for (place, address) in [
            (Some(world.as_path()), HOST),
            (Some(client.netns.as_path()), HOST),
            (Some(one.netns.as_path()), HOST),
            (Some(client.netns.as_path()), "10.244.0.1"),
            (None, HOST),
            (None, "127.0.0.1"),
            (None, "127.0.0.53"),
        ] {
            let address = format!("{address}:30080");
            assert_eq!(ask(place, &address).unwrap(), "one 10.244.0.1", "{place:?} {address}");
            assert_eq!(ask_udp(&udp(place, &address)).unwrap(), "one 10.244.0.1", "udp {place:?} {address}");
        }
    });
}

#[test]
fn node_port_to_a_host_network_endpoint() {
    on_host(|host| async move {
        serve(None, "hostnet", format!("{HOST}:8080").parse().unwrap());
        let client = host.pod("client").await;
        let endpoint = Endpoint {
            address: HOST.parse().unwrap(),
            port: 8080,
            ready: true,
            serving: true,
            terminating: false,
            local: true,
        };
        let port = ServicePort {
            node_port: Some(30080),
            endpoints: vec![endpoint],
            ..service("web", "10.96.0.20", Protocol::Tcp, &[])
        };
        host.apply(&[port]).await;
        for (place, address) in [
            (Some(client.netns.as_path()), WEB),
            (None, WEB),
            (None, "127.0.0.1:30080"),
            (None, "192.0.2.1:30080"),
        ] {
            assert!(ask(place, address).unwrap().starts_with("hostnet"), "{place:?} {address}");
        }
        assert!(ask(Some(&host.world()), "192.0.2.1:30080").unwrap().starts_with("hostnet"));
    });
}

#[test]
fn affinity_holds_for_cluster_ip_and_node_port() {
    on_host(|host| async move {
        let pods = [host.server("one").await, host.server("two").await, host.server("three").await];
        let all: Vec<_> = pods.iter().collect();
        let sticky = |seconds, pods: &[&crate::harness::Pod]| ServicePort {
            node_port: Some(30080),
            affinity_seconds: Some(seconds),
            ..service("web", "10.96.0.20", Protocol::Tcp, pods)
        };
        host.apply(&[sticky(60, &all)]).await;
        let client = host.pod("client").await;
        let world = host.world();
        let node = format!("{HOST}:30080");
        let inside = count(Some(&client.netns), WEB, 20);
        assert_eq!(inside.len(), 1, "{inside:?}");
        assert_eq!(count(Some(&client.netns), &node, 5).keys().next(), inside.keys().next());
        let outside = count(Some(&world), &node, 20);
        assert_eq!(outside.len(), 1, "{outside:?}");
        // A client keeps its endpoint when others come and go, and loses it only with the endpoint.
        let mine = inside.keys().next().unwrap().clone();
        let keep: Vec<_> = all.iter().copied().filter(|pod| pod.id == mine).collect();
        host.apply(&[sticky(60, &keep)]).await;
        host.apply(&[sticky(60, &all)]).await;
        assert_eq!(count(Some(&client.netns), WEB, 10), [(mine.clone(), 10)].into());
        let others: Vec<_> = all.iter().copied().filter(|pod| pod.id != mine).collect();
        host.apply(&[sticky(60, &others)]).await;
        let moved = count(Some(&client.netns), WEB, 10);
        assert!(moved.len() == 1 && !moved.contains_key(&mine), "{moved:?}");
    });
}

#[test]
fn affinity_ends_after_its_time() {
    on_host(|host| async move {
        let pods = [host.server("one").await, host.server("two").await];
        let port = ServicePort {
            affinity_seconds: Some(1),
            ..service("web", "10.96.0.20", Protocol::Tcp, &[&pods[0], &pods[1]])
        };
        host.apply(&[port]).await;
        let client = host.pod("client").await;
        let mut seen = count(Some(&client.netns), WEB, 1);
        // Each pause is longer than the affinity, so each round draws anew; that all draw alike is out of the question.
        for _ in 0..100 {
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
            seen.append(&mut count(Some(&client.netns), WEB, 1));
            if seen.len() == 2 {
                return;
            }
        }
        panic!("always {seen:?}");
    });
}

#[test]
fn local_policies() {
    on_host(|host| async move {
        let one = host.server("one").await;
        let client = host.pod("client").await;
        let world = host.world();
        let node = format!("{HOST}:30080");
        let local = ServicePort {
            node_port: Some(30080),
            external_local: true,
            ..service("web", "10.96.0.20", Protocol::Tcp, &[&one])
        };
        host.apply(std::slice::from_ref(&local)).await;
        assert_eq!(ask(Some(&world), &node).unwrap(), format!("one {WORLD}"));
        assert_eq!(ask(None, "127.0.0.1:30080").unwrap(), "one 10.244.0.1");
        // The same endpoint, as if on another node: strangers are dropped, our own are not.
        let mut far = local.clone();
        far.endpoints[0].local = false;
        host.apply(std::slice::from_ref(&far)).await;
        assert!(silent(Some(&world), &node));
        assert!(ask(Some(&client.netns), &node).is_ok());
        assert!(ask(None, &node).is_ok());
        far.internal_local = true;
        host.apply(&[far]).await;
        assert!(silent(Some(&client.netns), WEB));
    });
}

#[test]
fn external_and_load_balancer_addresses_with_source_ranges() {
    on_host(|host| async move {
        let one = host.server("one").await;
        let world = host.world();
        let mut port = ServicePort {
            external_ips: vec!["203.0.113.7".parse().unwrap()],
            load_balancer_ips: vec!["203.0.113.9".parse().unwrap()],
            source_ranges: vec!["198.51.100.0/24".parse().unwrap()],
            ..service("web", "10.96.0.20", Protocol::Tcp, &[&one])
        };
        host.apply(std::slice::from_ref(&port)).await;
        assert_eq!(ask(Some(&world), "203.0.113.7:80").unwrap(), "one 10.244.0.1");
        assert!(silent(Some(&world), "203.0.113.9:80"));
        port.source_ranges.push("192.0.2.0/24".parse().unwrap());
        host.apply(&[port]).await;
        assert_eq!(ask(Some(&world), "203.0.113.9:80").unwrap(), "one 10.244.0.1");
    });
}

#[test]
fn udp_clients_follow_their_service() {
    on_host(|host| async move {
        let (one, two) = (host.server("one").await, host.server("two").await);
        let client = host.pod("client").await;
        let port = |pods: &[&crate::harness::Pod]| ServicePort {
            node_port: Some(30053),
            ..service("dns", "10.96.0.21", Protocol::Udp, pods)
        };
        // Before there is a service a node port leads to the host itself, where nobody listens.
        let early = udp(Some(&host.world()), &format!("{HOST}:30053"));
        assert!(silent_udp(&early));
        host.apply(&[port(&[&one])]).await;
        assert_eq!(ask_udp(&early).or_else(|_| ask_udp(&early)).unwrap(), "one 10.244.0.1");
        let socket = udp(Some(&client.netns), "10.96.0.21:80");
        assert_eq!(ask_udp(&socket).unwrap(), format!("one {}", client.address));
        host.apply(&[port(&[&two])]).await;
        assert_eq!(ask_udp(&socket).unwrap(), format!("two {}", client.address));
        assert_eq!(ask_udp(&early).unwrap(), "two 10.244.0.1");
        host.apply(&[port(&[])]).await;
        assert!(refused(ask_udp(&socket)));
    });
}

#[test]
fn a_flushed_table_comes_back_with_the_next_change() {
    on_host(|host| async move {
        let one = host.server("one").await;
        host.apply(&[service("web", "10.96.0.20", Protocol::Tcp, &[&one])]).await;
        gifee_net::nft::remove(&host.config.table(), gifee_net::nft::Family::V4).unwrap();
        assert!(unreachable(None, WEB));
        host.apply(&[service("other", "10.96.0.22", Protocol::Tcp, &[&one])]).await;
        assert!(ask(None, WEB).is_ok());
        assert!(ask(None, "10.96.0.22:80").is_ok());
    });
}

#[test]
fn a_thousand_services_and_one_change() {
    on_host(|host| async move {
        let one = host.server("one").await;
        let many: Vec<ServicePort> = (0..1000)
            .map(|number| {
                let address = format!("10.96.{}.{}", 1 + number / 250, 1 + number % 250);
                let mut port = service(&format!("web{number}"), &address, Protocol::Tcp, &[&one]);
                port.node_port = Some(30000 + number);
                port.affinity_seconds = (number % 2 == 0).then_some(60);
                port
            })
            .collect();
        let start = Instant::now();
        host.apply(&many).await;
        let all = start.elapsed();
        let client = host.pod("client").await;
        let late = SocketAddr::new("10.96.4.250".parse().unwrap(), 80).to_string();
        assert!(ask(Some(&client.netns), &late).is_ok());
        let mut changed = many[999].clone();
        changed.endpoints[0].port = 8081;
        let start = Instant::now();
        host.apply(&[changed]).await;
        let single = start.elapsed();
        println!("1000 services: {all:?}; one change among them: {single:?}");
        assert!(refused(ask(Some(&client.netns), &late)));
    });
}
