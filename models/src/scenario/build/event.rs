//! What happens: traffic, migrations, failures and repairs.

use std::collections::BTreeMap;

use sim_core::SimTime;

use super::Builder;
use crate::scenario::fault::{Fault, quote};
use crate::scenario::file::{
    ActionFile, DistributionFile, ElementFile, MethodFile, MigrateFile, QemuFile, StopRuleFile,
    TrafficFile,
};
use crate::scenario::{
    Action, AutoConverge, Element, Migrate, Qemu, StopRule, Traffic, What, When,
};
use crate::units::Bytes;

impl<'a> Builder<'a, '_, '_> {
    /// Checks that the far end can be reached through the gateways of a tunnel:
    /// from where the client is, since links work both ways and a gateway that
    /// not even the client reaches is reported at the tunnel.
    fn far_end(&mut self, tunnel: Option<&str>, far: Option<usize>, path: &[&str]) {
        let tunnel = tunnel.and_then(|name| self.file.tunnel.get(name));
        if let Some(client) = tunnel.and_then(|tunnel| tunnel.client.as_deref()) {
            self.route(self.names.sites.get(client).copied(), far, path);
        }
    }

    pub(super) fn traffic(&mut self, name: &str, file: &TrafficFile) -> Traffic {
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

    pub(super) fn action(
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
        let stop_rule = self.method_rule(action, file);
        self.positive_span(&at("time_limit"), file.time_limit);
        Migrate {
            vm: vm.unwrap_or(0),
            to: to.unwrap_or(0),
            method: file.method,
            transport: self.refer_transport(&file.transport, &at("transport")),
            tunnel: self.refer_tunnel(file.tunnel.as_deref(), &at("tunnel")),
            stop_rule,
            time_limit: file.time_limit.get(),
        }
    }

    /// What ends the pre-copy of a migration, where its method has one.
    fn method_rule(&mut self, action: &str, file: &MigrateFile) -> Option<StopRule> {
        let at = |key| ["action", action, "migrate", key];
        match (file.method, &file.stop_rule) {
            (MethodFile::PreCopy, None) => {
                let help = "add `stop_rule`, for example `stop_rule = \"xen-4.6\"` or `stop_rule = { qemu = {} }`";
                self.fault(&at("method"), "pre-copy needs a `stop_rule`", help);
                None
            }
            (MethodFile::PreCopy, Some(rule)) => Some(self.stop_rule(action, rule)),
            (MethodFile::PostCopy, rule) => {
                let default = StopRuleFile::Qemu(QemuFile::default());
                let rule = self.stop_rule(action, rule.as_ref().unwrap_or(&default));
                if !matches!(rule, StopRule::Qemu(_)) {
                    let help = "write `stop_rule.qemu`, or leave `stop_rule` out";
                    self.fault(&at("stop_rule"), "only QEMU has post-copy", help);
                } else if matches!(&rule, StopRule::Qemu(qemu) if qemu.multifd.is_some()) {
                    let path = ["action", action, "migrate", "stop_rule", "qemu", "multifd"];
                    let message = "QEMU has no post-copy with `multifd`";
                    self.fault(&path, message, "remove `multifd`");
                }
                Some(rule)
            }
            (_, None) => None,
            (_, Some(_)) => {
                let fault = Fault::new(
                    self.span(&at("stop_rule")),
                    "only pre-copy has a `stop_rule`",
                    "",
                )
                .related(self.span(&at("method")), "another method")
                .help("remove `stop_rule`");
                self.faults.push(fault);
                None
            }
        }
    }

    /// Checks XBZRLE and multifd.
    fn qemu_options(&mut self, action: &str, qemu: &QemuFile) {
        let at = |key| ["action", action, "migrate", "stop_rule", "qemu", key];
        let Some(xbzrle) = &qemu.xbzrle else { return };
        let cache = xbzrle.cache.get();
        if cache < 4096 || !cache.is_power_of_two() {
            let message = format!("the cache of {} is no power of two", xbzrle.cache);
            let help = "QEMU takes powers of two from 4 KiB, such as \"64 MiB\"";
            self.fault(&at("xbzrle"), message, help);
        }
        if qemu.multifd.is_some() {
            let message = "`multifd` sends whole pages, past `xbzrle`";
            self.fault(&at("multifd"), message, "remove one of them");
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
                self.qemu_options(action, qemu);
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
                    xbzrle: qemu.xbzrle.as_ref().map(|xbzrle| xbzrle.cache),
                    multifd: qemu.multifd.as_ref().map(|multifd| multifd.channels),
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
