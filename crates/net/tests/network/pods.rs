//! Addresses, links, host ports, restart, the end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gifee_net::link::{Links, interfaces, netns, ranges_in_use};
use gifee_net::{Config, Error, HostPort, Network, PodNetwork, Protocol, teardown};

use socket2::{Domain, Socket, Type};

use crate::harness::{
    HOST, WORLD, ask, ask_udp, config, on_bare_host, on_host, refused, request, serve, udp, unreachable,
};

fn host_port(host_ip: Option<&str>, port: u16, protocol: Protocol) -> HostPort {
    HostPort {
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port: port,
        container_port: 8080,
        protocol,
    }
}

#[test]
fn pods_reach_each_other_the_host_and_the_world() {
    on_host(|host| async move {
        let (one, two) = (host.server("one").await, host.server("two").await);
        serve(None, "host", "0.0.0.0:9000".parse().unwrap());
        serve(Some(&host.world()), "world", "0.0.0.0:9000".parse().unwrap());
        let to = |address, port| SocketAddr::new(address, port).to_string();
        assert_eq!(ask(Some(&one.netns), &to(two.address, 8080)).unwrap(), format!("two {}", one.address));
        assert_eq!(ask(None, &to(one.address, 8080)).unwrap(), "one 10.244.0.1");
        assert_eq!(ask(Some(&one.netns), "10.244.0.1:9000").unwrap(), format!("host {}", one.address));
        assert_eq!(ask(Some(&one.netns), &format!("{HOST}:9000")).unwrap(), format!("host {}", one.address));
        assert_eq!(ask(Some(&one.netns), &format!("{WORLD}:9000")).unwrap(), format!("world {HOST}"));
        assert_eq!(ask(Some(&one.netns), &to(one.address, 8080)).unwrap(), format!("one {}", one.address));
    });
}

#[test]
fn a_pod_cannot_reach_the_loopback_of_the_host() {
    on_host(|host| async move {
        let pod = host.pod("one").await;
        serve(None, "secret", "127.9.0.1:9000".parse().unwrap());
        // What a process with NET_ADMIN in its own namespace can do: send loopback addresses to the host.
        netns::inside(&pod.netns, || {
            for setting in ["route_localnet", "accept_local"] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/all/{setting}"), "1").unwrap();
            }
            let gateway = "10.244.0.1".parse().unwrap();
            Links::open()?.add_route("eth0", "127.0.0.0/8".parse().unwrap(), Some(gateway), None)
        })
        .unwrap();
        let ask_by_eth0 = || {
            netns::inside(&pod.netns, || {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.bind_device(Some(b"eth0")).unwrap();
                let target: SocketAddr = "127.9.0.1:9000".parse().unwrap();
                Ok(socket.connect_timeout(&target.into(), Duration::from_millis(700)))
            })
        };
        assert_eq!(ask_by_eth0().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(ask(None, "127.9.0.1:9000").is_ok());
        // It is the rules that keep it out, and nothing else.
        gifee_net::nft::remove(&host.config.table(), gifee_net::nft::Family::V4).unwrap();
        ask_by_eth0().unwrap().unwrap();
    });
}

#[test]
fn host_ports_open_and_close() {
    on_host(|host| async move {
        let ports = vec![
            host_port(None, 7000, Protocol::Tcp),
            host_port(None, 7000, Protocol::Udp),
            host_port(Some("127.0.0.1"), 7001, Protocol::Tcp),
        ];
        let pod = host.pod_with("one", ports.clone()).await.unwrap();
        serve(Some(&pod.netns), "one", SocketAddr::new(pod.address, 8080));
        let other = host.pod("two").await;
        assert_eq!(ask(Some(&host.world()), &format!("{HOST}:7000")).unwrap(), format!("one {WORLD}"));
        assert_eq!(ask(None, "127.0.0.1:7000").unwrap(), "one 10.244.0.1");
        assert_eq!(ask(None, "127.0.0.1:7001").unwrap(), "one 10.244.0.1");
        assert!(refused(ask(Some(&host.world()), &format!("{HOST}:7001"))));
        assert_eq!(
            ask(Some(&other.netns), &format!("{HOST}:7000")).unwrap(),
            format!("one {}", other.address)
        );
        assert_eq!(ask(Some(&pod.netns), &format!("{HOST}:7000")).unwrap(), "one 10.244.0.1");
        let client = udp(Some(&host.world()), &format!("{HOST}:7000"));
        assert_eq!(ask_udp(&client).unwrap(), format!("one {WORLD}"));

        let taken = host.pod_with("three", vec![host_port(Some(HOST), 7000, Protocol::Tcp)]).await;
        assert!(matches!(taken, Err(Error::HostPortTaken { ref holder, .. }) if holder == "default/one"));

        host.network.detach("one").await.unwrap();
        assert!(refused(ask(Some(&host.world()), &format!("{HOST}:7000"))));
        // The same client, from the same port, must find the next pod that has the port.
        let next = host.pod_with("four", ports).await.unwrap();
        serve(Some(&next.netns), "four", SocketAddr::new(next.address, 8080));
        let answer = ask_udp(&client).or_else(|_| ask_udp(&client)).unwrap();
        assert_eq!(answer, format!("four {WORLD}"));
    });
}

#[test]
fn attach_is_idempotent_and_repairs() {
    on_host(|host| async move {
        let pod = host.server("one").await;
        let again = host.network.attach(&request("one", &pod.netns, vec![])).await.unwrap();
        assert_eq!(again.addresses, [pod.address]);
        assert!(ask(None, &SocketAddr::new(pod.address, 8080).to_string()).is_ok());
        // The namespace was lost (a reboot) and made anew.
        netns::remove(&pod.netns).unwrap();
        netns::create(&pod.netns).unwrap();
        let again = host.network.attach(&request("one", &pod.netns, vec![])).await.unwrap();
        assert_eq!(again.addresses, [pod.address]);
        serve(Some(&pod.netns), "anew", SocketAddr::new(pod.address, 8080));
        assert_eq!(ask(None, &SocketAddr::new(pod.address, 8080).to_string()).unwrap(), "anew 10.244.0.1");
        let bad = host.network.attach(&request("../x", &pod.netns, vec![])).await;
        assert!(matches!(bad, Err(Error::Config(_))));
        let nowhere = host.network.attach(&request("gone", &host.path("no-such"), vec![])).await;
        assert!(matches!(nowhere, Err(Error::Namespace { .. })));
        assert_eq!(host.network.list().await.unwrap().len(), 1);
    });
}

#[test]
fn a_restart_keeps_pods_and_their_connections() {
    on_host(|host| async move {
        let pod = host.pod_with("one", vec![host_port(None, 7000, Protocol::Tcp)]).await.unwrap();
        serve(Some(&pod.netns), "one", SocketAddr::new(pod.address, 8080));
        let config = host.config.clone();
        drop(host.network);
        // Rules and links work while nobody is there.
        assert_eq!(ask(None, "127.0.0.1:7000").unwrap(), "one 10.244.0.1");
        let network = Network::start(config).await.unwrap();
        assert_eq!(network.list().await.unwrap()[0].addresses, [pod.address]);
        assert_eq!(ask(None, "127.0.0.1:7000").unwrap(), "one 10.244.0.1");
        let path = pod.netns.with_file_name("two");
        netns::create(&path).unwrap();
        let ports = vec![host_port(None, 7002, Protocol::Tcp)];
        let two = network.attach(&request("two", &path, ports)).await.unwrap();
        assert_ne!(two.addresses, [pod.address]);
        // Also before all Services are known, new host ports work beside the inherited rules.
        serve(Some(&path), "two", SocketAddr::new(two.addresses[0], 8080));
        assert_eq!(ask(None, "127.0.0.1:7002").unwrap(), "two 10.244.0.1");
        network.complete_services().await.unwrap();
        assert_eq!(ask(None, "127.0.0.1:7000").unwrap(), "one 10.244.0.1");
        assert_eq!(ask(None, "127.0.0.1:7002").unwrap(), "two 10.244.0.1");
        network.detach("one").await.unwrap();
        network.complete_services().await.unwrap();
        assert!(refused(ask(None, "127.0.0.1:7000")));
    });
}

#[test]
fn two_instances_side_by_side_and_teardown_of_one() {
    on_host(|host| async move {
        let pod = host.server("one").await;
        let used: Vec<String> = ranges_in_use().unwrap().iter().map(ToString::to_string).collect();
        for range in ["10.244.0.0/24", "10.96.0.0/16", "192.0.2.2/32"] {
            assert!(used.iter().any(|one| one == range), "{range} is not in {used:?}");
        }
        let other = Config {
            instance: "t12".into(),
            pod_cidr: "10.245.0.0/24".parse().unwrap(),
            cluster_cidr: "10.245.0.0/16".parse().unwrap(),
            service_cidr: "10.97.0.0/16".parse().unwrap(),
            cluster_dns: "10.97.0.10".parse().unwrap(),
            state_dir: host.path("other"),
            ..host.config.clone()
        };
        let second = Network::start(other.clone()).await.unwrap();
        let path = host.path("pod-of-other");
        netns::create(&path).unwrap();
        second.attach(&request("one", &path, vec![])).await.unwrap();
        let to_first = SocketAddr::new(pod.address, 8080).to_string();
        assert_eq!(ask(Some(&path), &to_first).unwrap(), "one 10.244.0.1");
        drop(second);
        teardown(&other).await.unwrap();
        assert_eq!(interfaces("gft12-").unwrap(), [""; 0]);
        assert!(!other.state_dir.exists());
        assert!(ask(None, &to_first).is_ok());
        drop(host.network);
        teardown(&host.config).await.unwrap();
        teardown(&host.config).await.unwrap();
        assert_eq!(interfaces("gf").unwrap(), [""; 0]);
        assert!(unreachable(None, &to_first));
    });
}

#[test]
fn an_unusable_configuration_is_refused_before_anything_is_made() {
    on_bare_host(|folder| async move {
        let bad = Config { service_cidr: "10.244.9.0/24".parse().unwrap(), ..config(folder.path()) };
        assert!(matches!(Network::start(bad).await, Err(Error::Config(_))));
        let bad = Config { instance: "Long name".into(), ..config(folder.path()) };
        assert!(matches!(Network::start(bad).await, Err(Error::Config(_))));
        assert_eq!(interfaces("gf").unwrap(), [""; 0]);
    });
}

#[test]
fn many_are_attached_and_leave_nothing_behind() {
    on_host(|host| async move {
        let mut times = Vec::new();
        for number in 0..20 {
            let id = format!("pod{number}");
            let path = host.path(&id);
            netns::create(&path).unwrap();
            let start = Instant::now();
            host.network
                .attach(&request(&id, &path, vec![host_port(None, 7000 + number, Protocol::Tcp)]))
                .await
                .unwrap();
            times.push(start.elapsed());
        }
        times.sort();
        println!("attach: median {:?}, worst {:?}", times[10], times[19]);
        let start = Instant::now();
        let detach = |number| {
            let network = host.network.clone();
            tokio::spawn(async move { network.detach(&format!("pod{number}")).await })
        };
        for task in (0..20).map(detach).collect::<Vec<_>>() {
            task.await.unwrap().unwrap();
        }
        println!("detach of 20 at once: {:?}", start.elapsed());
        assert_eq!(host.network.list().await.unwrap(), []);
        assert_eq!(interfaces("gft1-").unwrap(), ["gft1-gw"]);
    });
}
