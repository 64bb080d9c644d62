use std::net::{Ipv4Addr, SocketAddrV4};

use super::client::parse;
use super::server::{Learnt, Table};

const STABLE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

fn outer(network: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, network, 0, 2), 0)
}

fn table() -> Table {
    let from = vec![
        "10.1.0.0/16".parse().unwrap(),
        "10.2.0.0/16".parse().unwrap(),
    ];
    Table::new("10.99.0.1/24".parse().unwrap(), from)
}

#[test]
fn the_way_to_a_client_is_where_its_last_packet_came_from() {
    let mut table = table();
    let new = Some(Learnt::Way { before: None });
    assert_eq!(table.learn(STABLE, outer(1)), new);
    assert_eq!(table.learn(STABLE, outer(1)), Some(Learnt::Nothing));
    let before = Some(outer(1));
    assert_eq!(table.learn(STABLE, outer(2)), Some(Learnt::Way { before }));
}

#[test]
fn packets_from_outside_the_pools_or_for_foreign_addresses_teach_nothing() {
    let mut table = table();
    assert_eq!(table.learn(STABLE, outer(3)), None);
    assert_eq!(table.learn([10, 98, 0, 2].into(), outer(1)), None);
    // The server's own address.
    assert_eq!(table.learn([10, 99, 0, 1].into(), outer(1)), None);
}

#[test]
fn a_full_table_still_follows_the_clients_it_knows() {
    let network = "10.0.0.1/8".parse().unwrap();
    let mut table = Table::new(network, Vec::new());
    let client = |n: u16| {
        let [high, low] = n.to_be_bytes();
        Ipv4Addr::new(10, 7, high, low)
    };
    for n in 0..256 {
        assert!(table.learn(client(n), outer(1)).is_some());
    }
    assert_eq!(table.learn(client(256), outer(1)), None);
    assert!(table.learn(client(3), outer(2)).is_some());
}

#[test]
fn a_command_names_an_address_or_leaves_it_to_the_routes() {
    assert_eq!(parse("local 10.2.0.9\r"), Ok([10, 2, 0, 9].into()));
    assert_eq!(parse(" local  auto"), Ok(Ipv4Addr::UNSPECIFIED));
    for line in [
        "",
        "local",
        "local 10.2.0",
        "local ::1",
        "remote auto",
        "local auto now",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
