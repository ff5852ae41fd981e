//! Addresses and records, without a kernel.

use std::fs;

use super::{Addresses, Records};
use crate::{Attachment, Cidr, HostPort, Protocol};

fn range() -> Cidr {
    "10.244.3.0/29".parse().unwrap()
}

#[test]
fn addresses_are_unique_and_come_back_last() {
    let mut addresses = Addresses::new(range());
    let take = |addresses: &mut Addresses| addresses.take().map(|address| address.to_string());
    let all: Vec<_> = (0..5).filter_map(|_| take(&mut addresses)).collect();
    assert_eq!(all, ["10.244.3.2", "10.244.3.3", "10.244.3.4", "10.244.3.5", "10.244.3.6"]);
    assert_eq!(take(&mut addresses), None);
    addresses.give_back("10.244.3.4".parse().unwrap());
    addresses.give_back("10.244.3.2".parse().unwrap());
    assert_eq!(take(&mut addresses).as_deref(), Some("10.244.3.2"));
    addresses.give_back("10.244.3.2".parse().unwrap());
    assert_eq!(take(&mut addresses).as_deref(), Some("10.244.3.4"));
}

#[test]
fn adopted_addresses_are_taken() {
    let mut addresses = Addresses::new(range());
    assert!(addresses.adopt("10.244.3.3".parse().unwrap()));
    assert!(!addresses.adopt("10.244.3.3".parse().unwrap()));
    for never in ["10.244.3.0", "10.244.3.1", "10.244.3.7", "10.244.4.2"] {
        assert!(!addresses.adopt(never.parse().unwrap()), "{never}");
    }
    assert_eq!(addresses.take(), Some("10.244.3.4".parse().unwrap()));
}

#[test]
fn records_survive_and_broken_ones_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let attachment = Attachment {
        sandbox_id: "abc".into(),
        pod_uid: "uid".into(),
        pod_namespace: "default".into(),
        pod_name: "web".into(),
        addresses: vec!["10.244.3.2".parse().unwrap()],
        host_interface: "gfa-2".into(),
        host_ports: vec![HostPort {
            host_ip: Some("127.0.0.1".parse().unwrap()),
            host_port: 80,
            container_port: 8080,
            protocol: Protocol::Udp,
        }],
    };
    {
        let records = Records::open(folder.path()).unwrap();
        records.write(&attachment).unwrap();
        assert!(Records::open(folder.path()).is_err(), "two processes must not share the folder");
    }
    fs::write(folder.path().join("pods/half.json"), "{\"sandboxID\":").unwrap();
    fs::write(folder.path().join("pods/left.json.new"), "{}").unwrap();
    let records = Records::open(folder.path()).unwrap();
    assert_eq!(records.load().unwrap(), [attachment]);
    assert_eq!(fs::read_dir(folder.path().join("pods")).unwrap().count(), 1);
    records.remove("abc").unwrap();
    records.remove("abc").unwrap();
    assert_eq!(records.load().unwrap(), []);
}
