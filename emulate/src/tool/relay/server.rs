//! The server's end of the relay; see [`super`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use serde_json::json;

use super::{BATCH, Channel, Counts, LARGEST, Link};
use crate::tool::clock::{emit, now_ns};
use crate::tool::packet;
use crate::tool::tun::{Net, Tun};
use crate::tool::wait::{Arrival, Want, wait};

const MOST_CLIENTS: usize = 256;
const MOST_LINES: u64 = 1000;

/// The relay's end in the servers' network.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to receive the clients' packets on.
    #[arg(long, value_name = "ADDR")]
    listen: Ipv4Addr,
    #[command(flatten)]
    channel: Channel,
    /// Its address, with the network of the clients' stable addresses.
    #[arg(long, value_name = "ADDR/BITS")]
    address: Net,
    /// Take packets only from these outer addresses (may be repeated); from any
    /// when left out.
    #[arg(long, value_name = "NET")]
    from: Vec<Net>,
}

pub(in crate::tool) fn run(args: &Args) -> anyhow::Result<()> {
    let stop = Arrival::stop()?;
    let link = Link::new(args.channel.transport, args.listen, args.channel.port)
        .with_context(|| format!("cannot receive the clients' packets on {}", args.listen))?;
    let tun = Tun::new(&args.channel.tun, args.address, &[], args.channel.mtu)?;
    emit(&json!({ "event": "ready", "t_ns": now_ns(), "address": args.address.to_string() }))?;
    let mut table = Table::new(args.address, args.from.clone());
    let mut counts = Counts::default();
    let mut buffer = vec![0; LARGEST];
    loop {
        let wants = [
            Want::Read(stop.as_fd()),
            Want::Read(link.as_fd()),
            Want::Read(tun.as_fd()),
        ];
        let ready = wait(&wants, None)?;
        if ready.has(0) {
            break;
        }
        if ready.has(1) {
            from_clients(&link, &tun, &mut table, &mut counts, &mut buffer)?;
        }
        if ready.has(2) {
            to_clients(&link, &tun, &table, &mut counts, &mut buffer)?;
        }
    }
    let mut summary = counts.object();
    summary["clients"] = table.ways.len().into();
    summary["moves"] = table.moves.into();
    Ok(emit(&summary)?)
}

fn from_clients(
    link: &Link,
    tun: &Tun,
    table: &mut Table,
    counts: &mut Counts,
    buffer: &mut [u8],
) -> anyhow::Result<()> {
    for _ in 0..BATCH {
        let Some((range, outer)) = link.receive(buffer)? else {
            break;
        };
        let packet = &buffer[range];
        let source = packet::ends(packet).map(|(source, _)| source);
        let Some(learnt) = source.and_then(|source| table.learn(source, outer)) else {
            counts.refused += 1;
            continue;
        };
        if let Learnt::Way { before } = learnt
            && table.moves <= MOST_LINES
        {
            emit(&json!({
                "event": "client",
                "t_ns": now_ns(),
                "inner": source,
                "outer": outer,
                "before": before,
            }))?;
        }
        counts.delivered(tun.write(packet), packet.len());
    }
    Ok(())
}

fn to_clients(
    link: &Link,
    tun: &Tun,
    table: &Table,
    counts: &mut Counts,
    buffer: &mut [u8],
) -> anyhow::Result<()> {
    for _ in 0..BATCH {
        let Some(length) = tun.read(buffer)? else {
            break;
        };
        let packet = &buffer[..length];
        let way = packet::ends(packet).and_then(|(_, destination)| table.ways.get(&destination));
        match way {
            Some(outer) => counts.sent(link.send(packet, *outer), length),
            None => counts.refused += 1,
        }
    }
    Ok(())
}

/// What a packet taught.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Learnt {
    Nothing,
    Way { before: Option<SocketAddrV4> },
}

/// Where each client was last heard from.
#[derive(Debug)]
pub(super) struct Table {
    network: Net,
    from: Vec<Net>,
    ways: BTreeMap<Ipv4Addr, SocketAddrV4>,
    moves: u64,
}

impl Table {
    pub(super) fn new(network: Net, from: Vec<Net>) -> Self {
        Self {
            network,
            from,
            ways: BTreeMap::new(),
            moves: 0,
        }
    }

    /// Learns from a packet; `None` when it has to be refused.
    pub(super) fn learn(&mut self, inner: Ipv4Addr, outer: SocketAddrV4) -> Option<Learnt> {
        let known = self.ways.get(&inner).copied();
        if known == Some(outer) {
            return Some(Learnt::Nothing);
        }
        let pool = self.from.is_empty() || self.from.iter().any(|net| net.contains(*outer.ip()));
        let stable = self.network.contains(inner) && inner != self.network.address;
        let room = known.is_some() || self.ways.len() < MOST_CLIENTS;
        if !(pool && stable && room) {
            return None;
        }
        self.ways.insert(inner, outer);
        self.moves += 1;
        Some(Learnt::Way { before: known })
    }
}
