//! A case as written to a case as meant: names to indices, defaults that
//! depend on other values, and every rule that a schema cannot say.
//!
//! A fault never stops the walk. The scenario that comes back is of use only
//! if no fault was reported.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sim_core::{SimDuration, SimTime};

use super::document::{Table, find, place};
use super::fault::{Fault, Faults, quote};
use super::file::{
    ActionFile, CipherFile, CongestionFile, ConstantFile, DetectionFile, DirtyFile,
    DistributionFile, ElementFile, HotColdFile, LinkFile, MethodFile, MigrateFile, Named,
    ScenarioFile, StopRuleFile, TrafficFile, TransportFile, TunnelFile, VmFile, ZipfFile,
};
use super::trace::Traces;
use super::{
    Action, AutoConverge, Detection, Dirty, DirtyPhase, Element, Gateway, Host, Link, Migrate,
    Qemu, Scenario, StopRule, Traffic, Transport, Tunnel, Vm, Vpn, What, When,
};
use crate::units::{BitRate, ByteRate, Bytes, Span};

const PAGE: u64 = 4096;
const SMALLEST_MEMORY: u64 = 1 << 20;
const LARGEST_MEMORY: u64 = 16 << 40;

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

impl<'a> Builder<'a, '_, '_> {
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
        known: &Indices<'a>,
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
        }
    }

    fn vm(&mut self, name: &str, vm: &VmFile) -> Vm {
        let host = self
            .refer_host(&vm.host, &["vm", name, "host"])
            .unwrap_or(0);
        let memory = vm.memory.get();
        let at = ["vm", name, "memory"];
        if !(SMALLEST_MEMORY..=LARGEST_MEMORY).contains(&memory) {
            let message = format!("`vm.{name}.memory` is {}", vm.memory);
            self.fault(&at, message, "the memory of a VM is 1 MiB to 16 TiB");
        } else if !memory.is_multiple_of(PAGE) {
            let help = format!(
                "the next size is \"{}\"",
                Bytes::new(memory.next_multiple_of(PAGE))
            );
            self.fault(
                &at,
                format!("`vm.{name}.memory` is no multiple of 4 KiB"),
                &help,
            );
        }
        Vm {
            name: name.to_owned(),
            host,
            memory: vm.memory,
            disk: vm.disk,
            zero: vm.zero,
            compressed: vm.compressed,
            device_state: vm.device_state,
            suspend: vm.suspend.get(),
            suspend_pages: vm.suspend_pages,
            resume: vm.resume.get(),
            shutdown: vm.shutdown.get(),
            boot: vm.boot.get(),
            dirty: self.dirty(name, vm),
            dirty_variation: vm.dirty_variation,
        }
    }

    fn dirty(&mut self, vm: &str, file: &VmFile) -> Dirty {
        let memory = file.memory;
        match &file.dirty {
            None => Dirty::Idle,
            Some(DirtyFile::Constant(ConstantFile {
                rate,
                working_set,
                pattern,
            })) => {
                let working_set = working_set.unwrap_or(memory);
                self.written(
                    &["vm", vm, "dirty", "constant", "working_set"],
                    working_set,
                    *rate,
                    memory,
                );
                Dirty::Constant {
                    rate: *rate,
                    working_set,
                    pattern: *pattern,
                }
            }
            Some(DirtyFile::HotCold(hot_cold)) => self.hot_cold(vm, hot_cold, memory),
            Some(DirtyFile::Zipf(ZipfFile {
                rate,
                skew,
                working_set,
            })) => {
                let working_set = working_set.unwrap_or(memory);
                self.written(
                    &["vm", vm, "dirty", "zipf", "working_set"],
                    working_set,
                    *rate,
                    memory,
                );
                Dirty::Zipf {
                    rate: *rate,
                    skew: *skew,
                    working_set,
                }
            }
            Some(DirtyFile::Trace(trace)) => {
                let phases = self.phases(vm, &trace.file, memory);
                Dirty::Trace {
                    phases,
                    pattern: trace.pattern,
                }
            }
        }
    }

    fn hot_cold(&mut self, vm: &str, file: &HotColdFile, memory: Bytes) -> Dirty {
        let at = |key| ["vm", vm, "dirty", "hot_cold", key];
        self.written(&at("hot"), file.hot, file.hot_rate, memory);
        if file.cold_rate > ByteRate::default() && file.hot == memory {
            let message = "the hot set is all memory, so nothing is cold";
            let help = "make `hot` smaller, or remove `cold_rate`";
            self.fault(&at("cold_rate"), message, help);
        }
        Dirty::HotCold {
            hot: file.hot,
            hot_rate: file.hot_rate,
            cold: Bytes::new(memory.get().saturating_sub(file.hot.get())),
            cold_rate: file.cold_rate,
            pattern: file.pattern,
        }
    }

    /// Checks a set of pages that is written to.
    fn written(&mut self, path: &[&str], set: Bytes, rate: ByteRate, memory: Bytes) {
        let shown = path.join(".");
        if set > memory {
            let message = format!("`{shown}` is {set}, more than the memory of {memory}");
            let fault = Fault::new(self.span(path), message, "")
                .related(self.span(&[path[0], path[1], "memory"]), "the memory")
                .help("a guest writes to its own memory only");
            self.faults.push(fault);
        } else if set.get() < PAGE && rate > ByteRate::default() {
            let message = format!("`{shown}` is smaller than a page of 4 KiB");
            self.fault(path, message, "give at least one page, or a rate of zero");
        }
    }

    fn phases(&mut self, vm: &str, file: &str, memory: Bytes) -> Vec<DirtyPhase> {
        let path = ["vm", vm, "dirty", "trace", "file"];
        let phases = match self.traces.get(file) {
            Ok(phases) => phases,
            Err((message, help)) => {
                self.fault(&path, message, &help);
                return Vec::new();
            }
        };
        // The header is line 1.
        for (phase, line) in phases.iter().zip(2..) {
            let problem = if phase.working_set > memory {
                format!("more than the memory of {memory}")
            } else if phase.working_set.get() < PAGE && phase.rate > ByteRate::default() {
                "smaller than a page of 4 KiB".to_owned()
            } else {
                continue;
            };
            let message = format!("line {line} of the trace file: the working set is {problem}");
            self.fault(
                &path,
                message,
                &format!("it is written for another VM than `{vm}`?"),
            );
            break;
        }
        phases
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
            max_rate: file.max_rate,
        }
    }

    fn tunnel(&mut self, name: &str, file: &TunnelFile) -> Tunnel {
        let at = |key| ["tunnel", name, key];
        let aead = matches!(
            file.cipher,
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
        self.positive(
            &at("throughput"),
            file.throughput.map_or(1, BitRate::bits_per_second),
            "nothing could be sent; leave it out for no bound",
        );
        Tunnel {
            name: name.to_owned(),
            mode: file.mode,
            cipher: file.cipher,
            integrity: file.integrity,
            nat_traversal: file.nat_traversal,
            ike: file.ike,
            phase1_time: file.phase1_time.get(),
            phase2_time: file.phase2_time.get(),
            throughput: file.throughput,
            packet_time: file.packet_time.get(),
            vpn: self.vpn(name, file),
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

    /// Checks that the far end can be reached through the gateways of a tunnel:
    /// from where the client is, since links work both ways and a gateway that
    /// not even the client reaches is reported at the tunnel.
    fn far_end(&mut self, tunnel: Option<&str>, far: Option<usize>, path: &[&str]) {
        let tunnel = tunnel.and_then(|name| self.file.tunnel.get(name));
        if let Some(client) = tunnel.and_then(|tunnel| tunnel.client.as_deref()) {
            self.route(self.names.sites.get(client).copied(), far, path);
        }
    }

    fn traffic(&mut self, name: &str, file: &TrafficFile) -> Traffic {
        let at = |key| ["traffic", name, key];
        let from = self.site(&file.from, &at("from"));
        let to = self.site(&file.to, &at("to"));
        if file.from == file.to {
            let message = format!(
                "`traffic.{name}` goes from `{0}` to `{0}`",
                quote(&file.from)
            );
            self.fault(&at("to"), message, "name two different sites");
        }
        self.route(from, to, &at("to"));
        self.far_end(file.tunnel.as_deref(), to, &at("tunnel"));
        let stop = file.stop.unwrap_or(self.file.until);
        if file.start >= stop {
            let end = if file.stop.is_some() {
                "stops"
            } else {
                "ends with the case"
            };
            let message = format!(
                "`traffic.{name}` starts at {} but {end} at {stop}",
                file.start
            );
            let key = if file.stop.is_some() { "stop" } else { "start" };
            self.fault(&at(key), message, "let it start before it stops");
        }
        Traffic {
            name: name.to_owned(),
            from: from.unwrap_or(0),
            to: to.unwrap_or(0),
            transport: self.refer_transport(&file.transport, &at("transport")),
            tunnel: self.refer_tunnel(file.tunnel.as_deref(), &at("tunnel")),
            start: SimTime::ZERO + file.start.get(),
            stop: SimTime::ZERO + stop.get(),
            size: file.size,
        }
    }

    fn action(
        &mut self,
        name: &'a str,
        file: &'a ActionFile,
        moved: &mut BTreeMap<&'a str, &'a str>,
    ) -> Action {
        let when = [("at", file.at.is_some()), ("after", file.after.is_some())];
        self.exactly_one(name, &when, "when it happens");
        let what = [
            ("migrate", file.migrate.is_some()),
            ("fail", file.fail.is_some()),
            ("repair", file.repair.is_some()),
        ];
        self.exactly_one(name, &what, "what happens");
        let mut done = None;
        if let Some(element) = &file.repair {
            done = Some(What::Repair(self.element(name, "repair", element)));
        }
        if let Some(element) = &file.fail {
            done = Some(What::Fail(self.element(name, "fail", element)));
        }
        if let Some(migrate) = &file.migrate {
            done = Some(What::Migrate(self.migrate(name, migrate)));
            if let Some(other) = moved.insert(&migrate.vm, name) {
                let message = format!("VM `{}` is migrated twice", quote(&migrate.vm));
                let mut spans =
                    [name, other].map(|action| self.span(&["action", action, "migrate", "vm"]));
                spans.sort_by_key(|span| span.start);
                let [first, again] = spans;
                let fault = Fault::new(again, message, "again here")
                    .related(first, "first here")
                    .help("one migration per VM and case; use a second VM or a sweep");
                self.faults.push(fault);
            }
        }
        Action {
            name: name.to_owned(),
            when: self.when(name, file),
            what: done.unwrap_or(What::Fail(Element::Link(0))),
        }
    }

    fn exactly_one(&mut self, action: &str, keys: &[(&str, bool)], purpose: &str) {
        let list = || {
            keys.iter()
                .map(|(key, _)| format!("`{key}`"))
                .collect::<Vec<_>>()
                .join(" or ")
        };
        let mut given = keys.iter().filter(|(_, given)| *given).map(|(key, _)| *key);
        match (given.next(), given.next()) {
            (Some(_), None) => {}
            (None, _) => {
                let message = format!("`action.{action}` does not say {purpose}");
                self.fault(&["action", action], message, &format!("add {}", list()));
            }
            (Some(first), Some(second)) => {
                let message =
                    format!("`action.{action}` says twice {purpose}: `{first}` and `{second}`");
                let fault = Fault::new(self.span(&["action", action, second]), message, "")
                    .related(self.span(&["action", action, first]), "and here")
                    .help(format!("keep one of {}", list()));
                self.faults.push(fault);
            }
        }
    }

    fn when(&mut self, name: &str, file: &ActionFile) -> When {
        match (file.at, &file.after) {
            (Some(at), _) => When::At(SimTime::ZERO + at.get()),
            (None, None) => When::At(SimTime::ZERO),
            (None, Some(DistributionFile::Exponential(file))) => {
                self.positive_span(&["action", name, "after", "exponential", "mean"], file.mean);
                When::Exponential {
                    mean: file.mean.get(),
                }
            }
            (None, Some(DistributionFile::Uniform(file))) => {
                if file.low > file.high {
                    let message = format!("`low` ({}) is above `high` ({})", file.low, file.high);
                    self.fault(
                        &["action", name, "after", "uniform", "low"],
                        message,
                        "exchange them",
                    );
                }
                When::Uniform {
                    low: file.low.get(),
                    high: file.high.get(),
                }
            }
            (None, Some(DistributionFile::Weibull(file))) => {
                self.positive_span(&["action", name, "after", "weibull", "scale"], file.scale);
                When::Weibull {
                    scale: file.scale.get(),
                    shape: file.shape,
                }
            }
        }
    }

    fn element(&mut self, action: &str, verb: &str, file: &ElementFile) -> Element {
        match file {
            ElementFile::Gateway(name) => {
                let path = ["action", action, verb, "gateway"];
                Element::Gateway(self.refer_gateway(name, &path).unwrap_or(0))
            }
            ElementFile::Link(name) => {
                let path = ["action", action, verb, "link"];
                Element::Link(
                    self.refer("link", &self.names.links, name, &path)
                        .unwrap_or(0),
                )
            }
        }
    }

    fn migrate(&mut self, action: &str, file: &MigrateFile) -> Migrate {
        let at = |key| ["action", action, "migrate", key];
        let vm = self.refer("VM", &self.names.vms, &file.vm, &at("vm"));
        let to = self.refer_host(&file.to, &at("to"));
        if let (Some(_), Some(_)) = (vm, to) {
            self.move_between_hosts(action, file);
        }
        let pre_copy = file.method == MethodFile::PreCopy;
        if pre_copy && file.stop_rule.is_none() {
            let help = "add `stop_rule`, for example `stop_rule = \"xen-4.6\"` or `stop_rule = { qemu = {} }`";
            self.fault(&at("method"), "pre-copy needs a `stop_rule`", help);
        } else if !pre_copy && file.stop_rule.is_some() {
            let fault = Fault::new(
                self.span(&at("stop_rule")),
                "only pre-copy has a `stop_rule`",
                "",
            )
            .related(self.span(&at("method")), "another method")
            .help("remove `stop_rule`");
            self.faults.push(fault);
        }
        self.positive_span(&at("time_limit"), file.time_limit);
        Migrate {
            vm: vm.unwrap_or(0),
            to: to.unwrap_or(0),
            method: file.method,
            transport: self.refer_transport(&file.transport, &at("transport")),
            tunnel: self.refer_tunnel(file.tunnel.as_deref(), &at("tunnel")),
            stop_rule: file
                .stop_rule
                .as_ref()
                .map(|rule| self.stop_rule(action, rule)),
            time_limit: file.time_limit.get(),
        }
    }

    /// Checks what depends on the VM and both hosts of a migration.
    fn move_between_hosts(&mut self, action: &str, file: &MigrateFile) {
        let at = |key| ["action", action, "migrate", key];
        let vm = &self.file.vm[&file.vm];
        let Some(source) = self.file.host.get(&vm.host) else {
            return;
        };
        let target = &self.file.host[&file.to];
        if vm.host == file.to {
            let message = format!("VM `{}` is on host `{}` already", file.vm, file.to);
            let fault = Fault::new(self.span(&at("to")), message, "")
                .related(self.span(&["vm", &file.vm, "host"]), "where it starts")
                .help("name another host");
            self.faults.push(fault);
        }
        let site = |name: &str| self.names.sites.get(name).copied();
        let (from, to) = (site(&source.site), site(&target.site));
        self.route(from, to, &at("to"));
        self.far_end(file.tunnel.as_deref(), to, &at("tunnel"));
        let compress = file.method == MethodFile::CompressedImage;
        if !compress && file.method != MethodFile::EncryptedImage {
            return;
        }
        if vm.disk == Bytes::default() {
            let message = format!("VM `{}` has no disk image to move", file.vm);
            self.fault(
                &at("method"),
                message,
                &format!("add `disk` to `[vm.{}]`", file.vm),
            );
        }
        let rates = [
            (&vm.host, "encrypt", source.encrypt, true),
            (&file.to, "decrypt", target.decrypt, true),
            (&vm.host, "compress", source.compress, compress),
            (&file.to, "decompress", target.decompress, compress),
        ];
        for (host, key, rate, needed) in rates {
            let rate = if needed { rate.bytes_per_second() } else { 1 };
            self.positive(
                &["host", host, key],
                rate,
                "this migration needs it; leave it out for the default",
            );
        }
        if compress && vm.compressed <= 0.0 {
            let message = format!("`vm.{}.compressed` is zero", file.vm);
            self.fault(
                &["vm", &file.vm, "compressed"],
                message,
                "a compressed image still has a size, such as 0.4",
            );
        }
    }

    fn stop_rule(&mut self, action: &str, file: &StopRuleFile) -> StopRule {
        match file {
            StopRuleFile::Xen40 => StopRule::Xen40,
            StopRuleFile::Xen46 => StopRule::Xen46,
            StopRuleFile::Qemu(qemu) => {
                if qemu.auto_converge && qemu.throttle_initial > qemu.throttle_max {
                    let path = ["action", action, "migrate", "stop_rule", "qemu"];
                    let message = format!(
                        "`throttle_initial` ({}) is above `throttle_max` ({})",
                        qemu.throttle_initial, qemu.throttle_max
                    );
                    self.fault(&path, message, "the first throttle is at most the largest");
                }
                StopRule::Qemu(Qemu {
                    downtime_limit: qemu.downtime_limit.get(),
                    max_bandwidth: qemu.max_bandwidth,
                    auto_converge: qemu.auto_converge.then_some(AutoConverge {
                        trigger: qemu.throttle_trigger,
                        initial: qemu.throttle_initial,
                        increment: qemu.throttle_increment,
                        max: qemu.throttle_max,
                    }),
                })
            }
            StopRuleFile::Simgrid(rule) => StopRule::Simgrid {
                max_downtime: rule.max_downtime.get(),
            },
        }
    }
}
