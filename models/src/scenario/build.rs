//! A case as written to a case as meant: names to indices, defaults that
//! depend on other values, and every rule that a schema cannot say.
//!
//! A fault never stops the walk. The scenario that comes back is of use only
//! if no fault was reported.

mod event;
mod guest;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sim_core::{SimDuration, SimTime};

use super::document::{Table, find, place};
use super::fault::{Fault, Faults, quote};
use super::file::{
    CipherFile, CongestionFile, DetectionFile, IkeFile, LinkFile, ModeFile, Named, ScenarioFile,
    TransportFile, TunnelFile,
};
use super::trace::Traces;
use super::{Detection, Gateway, Host, Link, Scenario, Transport, Tunnel, Vpn};
use crate::units::{BitRate, Bytes, Span};

/// Builds the scenario of one case. `tree` is what `file` was read from.
pub(crate) fn build(
    file: &ScenarioFile,
    tree: &Table<'_>,
    traces: &mut Traces<'_>,
    faults: &mut Faults,
) -> Scenario {
    let names = Names {
        sites: indices(&file.site),
        links: indices(&file.link),
        gateways: indices(&file.gateway),
        hosts: indices(&file.host),
        vms: indices(&file.vm),
        transports: indices(&file.transport),
        tunnels: indices(&file.tunnel),
    };
    let islands = islands(file, &names.sites);
    Builder {
        file,
        tree,
        traces,
        faults,
        names: &names,
        islands,
    }
    .scenario()
}

/// The entries of one kind and their indices in the scenario.
type Indices<'a> = BTreeMap<&'a str, usize>;

fn indices<T>(entries: &Named<T>) -> Indices<'_> {
    entries
        .keys()
        .zip(0..)
        .map(|(name, index)| (name.as_str(), index))
        .collect()
}

/// The names that entries may refer to.
struct Names<'a> {
    sites: Indices<'a>,
    links: Indices<'a>,
    gateways: Indices<'a>,
    hosts: Indices<'a>,
    vms: Indices<'a>,
    transports: Indices<'a>,
    tunnels: Indices<'a>,
}

/// For each site a number that it shares with the sites it can reach over any
/// number of links. Empty if a link names an unknown site: that is told where
/// it stands, and makes every route doubtful.
fn islands(file: &ScenarioFile, sites: &Indices<'_>) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..sites.len()).collect();
    for link in file.link.values() {
        let [from, to] = link.between.each_ref().map(|name| sites.get(name.as_str()));
        let (Some(&from), Some(&to)) = (from, to) else {
            return Vec::new();
        };
        let (from, to) = (root(&mut parent, from), root(&mut parent, to));
        parent[from] = to;
    }
    (0..parent.len())
        .map(|site| root(&mut parent, site))
        .collect()
}

fn root(parent: &mut [usize], mut site: usize) -> usize {
    while parent[site] != site {
        parent[site] = parent[parent[site]];
        site = parent[site];
    }
    site
}

struct Builder<'a, 't, 'l> {
    file: &'a ScenarioFile,
    tree: &'a Table<'t>,
    traces: &'a mut Traces<'l>,
    faults: &'a mut Faults,
    names: &'a Names<'a>,
    islands: Vec<usize>,
}

impl Builder<'_, '_, '_> {
    fn scenario(&mut self) -> Scenario {
        let file = self.file;
        self.positive_span(&["until"], file.until);
        if let Some(series) = file.series {
            self.positive_span(&["series"], series);
        }
        let links = file
            .link
            .iter()
            .map(|(name, link)| self.link(name, link))
            .collect();
        let gateways = file.gateway.iter().map(|(name, gateway)| Gateway {
            name: name.clone(),
            site: self
                .site(&gateway.site, &["gateway", name, "site"])
                .unwrap_or(0),
        });
        let gateways = gateways.collect();
        let hosts = file.host.keys().map(|name| self.host(name)).collect();
        let vms = file.vm.iter().map(|(name, vm)| self.vm(name, vm)).collect();
        let transports = file
            .transport
            .iter()
            .map(|(name, t)| self.transport(name, t))
            .collect();
        let tunnels = file
            .tunnel
            .iter()
            .map(|(name, tunnel)| self.tunnel(name, tunnel))
            .collect();
        let traffic = file
            .traffic
            .iter()
            .map(|(name, flow)| self.traffic(name, flow))
            .collect();
        let mut moved = BTreeMap::new();
        let actions = file
            .action
            .iter()
            .map(|(name, action)| self.action(name, action, &mut moved))
            .collect();
        Scenario {
            until: SimTime::ZERO + file.until.get(),
            series: file.series.map(Span::get),
            sites: file.site.keys().cloned().collect(),
            links,
            gateways,
            hosts,
            vms,
            transports,
            tunnels,
            traffic,
            actions,
        }
    }

    fn span(&self, path: &[&str]) -> Range<usize> {
        place(self.tree, path)
    }

    fn fault(&mut self, path: &[&str], message: impl Into<String>, help: &str) {
        self.faults
            .push(Fault::new(self.span(path), message, "").help(help));
    }

    fn positive(&mut self, path: &[&str], value: u64, why: &str) {
        if value == 0 {
            self.fault(path, format!("`{}` is zero", path.join(".")), why);
        }
    }

    fn positive_span(&mut self, path: &[&str], span: Span) {
        self.positive(
            path,
            span.get().as_nanos(),
            "give a duration such as \"10s\"",
        );
    }

    /// The index of a name, or a fault where it stands.
    fn refer(
        &mut self,
        kind: &str,
        known: &Indices<'_>,
        name: &str,
        path: &[&str],
    ) -> Option<usize> {
        let index = known.get(name).copied();
        if index.is_none() {
            let help = self
                .faults
                .did_you_mean(name, known.keys().copied(), &format!("{kind}s"));
            let message = format!("there is no {kind} `{}`", quote(name));
            self.faults
                .push(Fault::new(self.span(path), message, "").help(help));
        }
        index
    }

    fn site(&mut self, name: &str, path: &[&str]) -> Option<usize> {
        self.refer("site", &self.names.sites, name, path)
    }

    fn refer_transport(&mut self, name: &str, path: &[&str]) -> usize {
        self.refer("transport", &self.names.transports, name, path)
            .unwrap_or(0)
    }

    fn refer_tunnel(&mut self, name: Option<&str>, path: &[&str]) -> Option<usize> {
        self.refer("tunnel", &self.names.tunnels, name?, path)
    }

    fn refer_host(&mut self, name: &str, path: &[&str]) -> Option<usize> {
        self.refer("host", &self.names.hosts, name, path)
    }

    fn refer_gateway(&mut self, name: &str, path: &[&str]) -> Option<usize> {
        self.refer("gateway", &self.names.gateways, name, path)
    }

    /// Whether links lead from one site to another; doubt counts as yes.
    fn joined(&self, from: Option<usize>, to: Option<usize>) -> bool {
        let island = |site: Option<usize>| self.islands.get(site?);
        island(from)
            .zip(island(to))
            .is_none_or(|(from, to)| from == to)
    }

    /// Reports at `path` if no route joins two sites.
    fn route(&mut self, from: Option<usize>, to: Option<usize>, path: &[&str]) {
        if !self.joined(from, to) {
            let name = |site: Option<usize>| {
                self.file
                    .site
                    .keys()
                    .nth(site.unwrap_or(0))
                    .cloned()
                    .unwrap_or_default()
            };
            let message = format!(
                "no links lead from site `{}` to site `{}`",
                name(from),
                name(to)
            );
            self.fault(
                path,
                message,
                "add a `[link.NAME]` between them, directly or through other sites",
            );
        }
    }

    fn link(&mut self, name: &str, link: &LinkFile) -> Link {
        let at = |key| ["link", name, key];
        let [first, second] = &link.between;
        let sites = [
            self.site(first, &["link", name, "between", "0"])
                .unwrap_or(0),
            self.site(second, &["link", name, "between", "1"])
                .unwrap_or(0),
        ];
        if first == second {
            let message = format!("`link.{name}` joins `{}` with itself", quote(first));
            self.fault(&at("between"), message, "name two different sites");
        }
        let delay = match (link.rtt, link.delay) {
            (Some(rtt), None) => rtt.get() / 2,
            (None, Some(delay)) => delay.get(),
            (None, None) => {
                let help = "add `rtt` (there and back) or `delay` (one way)";
                self.fault(
                    &["link", name],
                    format!("`link.{name}` has neither `rtt` nor `delay`"),
                    help,
                );
                SimDuration::ZERO
            }
            (Some(_), Some(_)) => {
                let message = format!("`link.{name}` has both `rtt` and `delay`");
                let fault = Fault::new(self.span(&at("delay")), message, "one way")
                    .related(self.span(&at("rtt")), "there and back")
                    .help("remove one of them");
                self.faults.push(fault);
                SimDuration::ZERO
            }
        };
        self.positive(
            &at("rate"),
            link.rate.bits_per_second(),
            "nothing could be sent; give a rate such as \"1 Gbit/s\"",
        );
        if !(576..=65535).contains(&link.mtu.get()) {
            let message = format!("`link.{name}.mtu` is {}", link.mtu);
            self.fault(
                &at("mtu"),
                message,
                "an MTU is 576 B to 65535 B, on Ethernet 1500 B",
            );
        }
        let fluid = |transport: &TransportFile| transport.congestion == CongestionFile::Fluid;
        if !self.file.transport.values().all(fluid) {
            self.positive(
                &at("queue"),
                link.queue.get(),
                "every packet would be lost; only fluid transports need no queue",
            );
        }
        Link {
            name: name.to_owned(),
            sites,
            delay,
            rate: link.rate,
            loss: link.loss,
            queue: link.queue,
            mtu: link.mtu,
            framing: link.framing,
        }
    }

    fn host(&mut self, name: &str) -> Host {
        let host = &self.file.host[name];
        let path = ["host", name, "zero_scan"];
        self.positive(
            &path,
            host.zero_scan.bytes_per_second(),
            "give the rate of reading memory",
        );
        Host {
            name: name.to_owned(),
            site: self.site(&host.site, &["host", name, "site"]).unwrap_or(0),
            encrypt: host.encrypt,
            decrypt: host.decrypt,
            compress: host.compress,
            decompress: host.decompress,
            zero_scan: host.zero_scan,
            bitmap_sync: SimDuration::ZERO,
        }
    }

    fn transport(&mut self, name: &str, file: &TransportFile) -> Transport {
        let at = |key| ["transport", name, key];
        if file.min_rto > file.max_rto {
            let message = format!(
                "`transport.{name}`: `min_rto` ({}) is above `max_rto` ({})",
                file.min_rto, file.max_rto
            );
            // Point at the one that was written.
            let key = if find(self.tree, &at("min_rto")).is_some() {
                "min_rto"
            } else {
                "max_rto"
            };
            self.fault(
                &at(key),
                message,
                "the smallest time-out is at most the largest",
            );
        }
        let why = "nothing could be sent; leave it out for the default";
        self.positive(&at("receive_window"), file.receive_window.get(), why);
        self.positive(&at("send_buffer"), file.send_buffer.get(), why);
        self.positive(
            &at("channel_window"),
            file.channel_window.map_or(1, Bytes::get),
            why,
        );
        self.positive(
            &at("max_rate"),
            file.max_rate.map_or(1, BitRate::bits_per_second),
            why,
        );
        Transport {
            name: name.to_owned(),
            congestion: file.congestion,
            hystart: file.hystart,
            initial_window: file.initial_window,
            receive_window: file.receive_window,
            send_buffer: file.send_buffer,
            channel_window: file.channel_window,
            timestamps: file.timestamps,
            setup_round_trips: file.setup_round_trips,
            setup_time: file.setup_time.get(),
            min_rto: file.min_rto.get(),
            max_rto: file.max_rto.get(),
            retries: file.retries,
            tail_loss_probe: file.tail_loss_probe,
            timer_tick: file.timer_tick.get(),
            max_rate: file.max_rate,
        }
    }

    fn tunnel(&mut self, name: &str, file: &TunnelFile) -> Tunnel {
        let at = |key| ["tunnel", name, key];
        let (cipher, ike) = if file.mode == ModeFile::Wireguard {
            self.wireguard(name, file);
            (CipherFile::ChaCha20Poly1305, IkeFile::Wireguard)
        } else {
            (self.esp(name, file), file.ike)
        };
        self.positive(
            &at("throughput"),
            file.throughput.map_or(1, BitRate::bits_per_second),
            "nothing could be sent; leave it out for no bound",
        );
        let connect_timeout = ["tunnel", name, "connect_timeout"];
        self.positive_span(&connect_timeout, file.connect_timeout);
        Tunnel {
            name: name.to_owned(),
            mode: file.mode,
            cipher,
            integrity: file.integrity,
            nat_traversal: file.nat_traversal,
            ike,
            phase1_time: file.phase1_time.get(),
            phase2_time: file.phase2_time.get(),
            connect_timeout: file.connect_timeout.get(),
            throughput: file.throughput,
            packet_time: file.packet_time.get(),
            vpn: self.vpn(name, file),
        }
    }

    /// The cipher of an ESP tunnel, with what belongs to it.
    fn esp(&mut self, name: &str, file: &TunnelFile) -> CipherFile {
        let at = |key| ["tunnel", name, key];
        if file.ike == IkeFile::Wireguard {
            let help = "write `mode = \"wireguard\"`, or another `ike`";
            self.fault(&at("ike"), "ESP has no handshake of WireGuard", help);
        }
        let Some(cipher) = file.cipher else {
            let message = format!("`tunnel.{name}` has no `cipher`");
            let help = "add, for example, `cipher = \"aes128-gcm\"`";
            self.fault(&["tunnel", name], message, help);
            return CipherFile::Null;
        };
        let aead = matches!(
            cipher,
            CipherFile::Aes128Gcm | CipherFile::Aes256Gcm | CipherFile::ChaCha20Poly1305
        );
        if aead && file.integrity.is_some() {
            let fault = Fault::new(
                self.span(&at("integrity")),
                "an AEAD cipher needs no integrity algorithm",
                "",
            )
            .related(
                self.span(&at("cipher")),
                "this cipher protects integrity itself",
            )
            .help("remove `integrity`");
            self.faults.push(fault);
        } else if !aead && file.integrity.is_none() {
            let message = format!("`tunnel.{name}` has no `integrity`");
            self.fault(&at("cipher"), message, "this cipher does not protect integrity; add, for example, `integrity = \"hmac-sha256\"`");
        }
        cipher
    }

    /// Reports what WireGuard leaves no choice of.
    fn wireguard(&mut self, name: &str, file: &TunnelFile) {
        let chacha = CipherFile::ChaCha20Poly1305;
        let odd = [
            ("cipher", file.cipher.is_some_and(|cipher| cipher != chacha)),
            ("integrity", file.integrity.is_some()),
            ("nat_traversal", file.nat_traversal),
            (
                "ike",
                !matches!(file.ike, IkeFile::None | IkeFile::Wireguard),
            ),
        ];
        for (key, _) in odd.into_iter().filter(|(_, odd)| *odd) {
            let fault = Fault::new(
                self.span(&["tunnel", name, key]),
                format!("WireGuard has no choice of `{key}`"),
                "",
            )
            .related(self.span(&["tunnel", name, "mode"]), "WireGuard")
            .help(format!("remove `{key}`"));
            self.faults.push(fault);
        }
    }

    fn vpn(&mut self, name: &str, file: &TunnelFile) -> Option<Vpn> {
        let at = |key| ["tunnel", name, key];
        if file.gateways.is_empty() {
            let given = [
                ("client", file.client.is_some()),
                ("detection", file.detection.is_some()),
                ("relay", file.relay.is_some()),
            ];
            for (key, _) in given.into_iter().filter(|(_, given)| *given) {
                let message = format!("`tunnel.{name}` has `{key}` but no `gateways`");
                self.fault(
                    &at(key),
                    message,
                    &format!("add `gateways`, or remove `{key}`"),
                );
            }
            return None;
        }
        let client = match &file.client {
            Some(client) => self.site(client, &at("client")),
            None => {
                let message = format!("`tunnel.{name}` has `gateways` but no `client`");
                self.fault(
                    &at("gateways"),
                    message,
                    "add `client`: the site whose traffic goes through the tunnel",
                );
                None
            }
        };
        let mut seen = BTreeSet::new();
        let mut gateways = Vec::with_capacity(file.gateways.len());
        for (gateway, index) in file.gateways.iter().zip(0_usize..) {
            let index = index.to_string();
            let path = ["tunnel", name, "gateways", &index];
            let known = self.refer_gateway(gateway, &path);
            if !seen.insert(gateway) {
                let message = format!("gateway `{}` is in the list twice", quote(gateway));
                self.fault(
                    &path,
                    message,
                    "a client tries each gateway once a round; remove one",
                );
            }
            let Some(known) = known else { continue };
            gateways.push(known);
            let site = self
                .names
                .sites
                .get(self.file.gateway[gateway].site.as_str())
                .copied();
            self.route(client, site, &path);
        }
        Some(Vpn {
            client: client.unwrap_or(0),
            gateways,
            detection: file
                .detection
                .as_ref()
                .map(|detection| self.detection(name, detection)),
            relay: file.relay.as_ref().map(|relay| relay.latency.get()),
        })
    }

    fn detection(&mut self, tunnel: &str, file: &DetectionFile) -> Detection {
        match file {
            DetectionFile::Probe(probe) => {
                self.positive_span(
                    &["tunnel", tunnel, "detection", "probe", "interval"],
                    probe.interval,
                );
                Detection::Probe {
                    interval: probe.interval.get(),
                    rto_multiple: probe.rto_multiple,
                    min_rto: probe.min_rto.get(),
                }
            }
            DetectionFile::Strongswan(dpd) => {
                self.positive_span(
                    &["tunnel", tunnel, "detection", "strongswan", "dpd_delay"],
                    dpd.dpd_delay,
                );
                Detection::Strongswan {
                    dpd_delay: dpd.dpd_delay.get(),
                    timeout: dpd.timeout.get(),
                    base: dpd.base,
                    tries: dpd.tries,
                }
            }
            DetectionFile::Libreswan(dpd) => {
                let at = |key| ["tunnel", tunnel, "detection", "libreswan", key];
                self.positive_span(&at("dpd_delay"), dpd.dpd_delay);
                self.positive_span(&at("retransmit_interval"), dpd.retransmit_interval);
                Detection::Libreswan {
                    dpd_delay: dpd.dpd_delay.get(),
                    retransmit_interval: dpd.retransmit_interval.get(),
                    retransmit_timeout: dpd.retransmit_timeout.get(),
                }
            }
        }
    }
}
