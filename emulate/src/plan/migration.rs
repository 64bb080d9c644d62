//! A migration: hosts at their sites, a guest at one of them, a user beside it.
//!
//! The user's network is not the WAN: a bridge in a namespace of its own joins
//! both hosts without delay, so what the user misses is what the migration took
//! away and nothing else. The target's announcement (QEMU's RARP) moves the
//! guest's address from one port of the bridge to the other.

use std::time::Duration;

use models::scenario::{Case, Method, Migrate, Mode, Qemu, Scenario, StopRule, When};
use models::wan;

use super::network::{Network, Node, ip_batch, namespace, smallest_mtu};
use super::{Assets, Plan, Unsupported, argv, calibrate, guest, image, ipsec, wireguard};

/// Address of the user, and of the guest, on the users' network.
pub const USER: &str = "10.9.0.1";
/// The guest's.
pub const GUEST: &str = "10.9.0.2";
/// Where a target waits for the guest.
const PORT: u16 = 4444;
/// The guest writes for so long before it is moved.
const SETTLE: Duration = Duration::from_secs(1);
/// Name of the step that reads the counters.
pub const ARRIVED: &str = "arrived";
/// The file that tells that the guest stops soon.
const HERALD: &str = "herald";
/// How often the user asks.
const PROBE: &str = "5ms";

/// The first migration of a scenario, if it has one.
pub fn order(scenario: &Scenario) -> Option<(&Migrate, &When)> {
    scenario
        .actions
        .iter()
        .find_map(|action| match &action.what {
            models::scenario::What::Migrate(order) => Some((order, &action.when)),
            _ => None,
        })
}

/// The plan of a case that migrates. `calibrated` says whether the path was
/// measured before and need not be again.
///
/// # Errors
///
/// When the case needs something that no lab has.
pub fn plan(case: &Case, calibrated: bool, assets: &Assets) -> Result<Plan, Unsupported> {
    let scenario = &case.scenario;
    let (order, when) =
        order(scenario).ok_or_else(|| Unsupported("the case migrates nothing".to_owned()))?;
    let When::At(start) = when else {
        return Err(Unsupported(
            "a migration at a random instant cannot be emulated; give it `at`".to_owned(),
        ));
    };
    let mut plan = Plan::default();
    let hosts = hosts(scenario, order);
    let network = Network {
        nodes: hosts.to_vec(),
    };
    network.build(scenario, assets, &mut plan)?;
    Network::impair(scenario, assets, &mut plan);
    if !calibrated {
        let path = calibrate::Path::of(scenario, [hosts[0].site, hosts[1].site]);
        calibrate::path(
            &path,
            [&hosts[0].namespace, &hosts[1].namespace],
            assets,
            &mut plan,
        );
    }
    if let Some(tunnel) = order.tunnel {
        let tunnel = &scenario.tunnels[tunnel];
        let ends = [0, 1].map(|index| ipsec::End {
            namespace: hosts[index].namespace.clone(),
            address: Network::address(index),
            networks: vec![format!("{}/32", Network::address(index))],
        });
        if tunnel.mode == Mode::Wireguard {
            wireguard::between(&ends, smallest_mtu(scenario), assets, &mut plan)?;
        } else {
            ipsec::between(tunnel, [&ends[0], &ends[1]], assets, &mut plan);
        }
    }
    users_network(&hosts, assets, &mut plan);
    plan.push(
        "the case begins",
        super::Action::Pause(Duration::from_nanos(start.as_nanos())),
    );
    let vm = &scenario.vms[order.vm];
    match order.method {
        Method::EncryptedImage | Method::CompressedImage => {
            image::steps(scenario, order, &hosts, assets, &mut plan);
        }
        _ => live(scenario, order, vm, &hosts, assets, &mut plan)?,
    }
    Ok(plan)
}

/// Source and target as nodes of the network, in this order.
fn hosts(scenario: &Scenario, order: &Migrate) -> [Node; 2] {
    [scenario.vms[order.vm].host, order.to].map(|host| Node {
        namespace: format!("host-{}", scenario.hosts[host].name),
        site: scenario.hosts[host].site,
        transport: Some(order.transport),
        send_memory: send_memory(scenario, order),
    })
}

/// Kernel memory that holds the payload of the transport's send buffer.
fn send_memory(scenario: &Scenario, order: &Migrate) -> Option<u64> {
    let sites = [scenario.vms[order.vm].host, order.to].map(|host| scenario.hosts[host].site);
    let transport = &scenario.transports[order.transport];
    let through = order.tunnel.map(|index| wan::Through {
        index,
        tunnel: &scenario.tunnels[index],
        gateway: None,
    });
    let topology = wan::Topology::new(scenario);
    let route = wan::route(scenario, &topology, sites, transport, through)?;
    Some(route.memory.of_payload(transport.send_buffer.as_f64()) as u64)
}

/// The user, joined to a bridge at each host.
fn users_network(hosts: &[Node; 2], assets: &Assets, plan: &mut Plan) {
    namespace("user", assets, plan);
    let user = assets.namespace("user");
    let mut batch = String::new();
    for (index, host) in hosts.iter().enumerate() {
        let host = assets.namespace(&host.namespace);
        batch.push_str(&format!(
            "link add name port{index} netns {user} type veth peer name users netns {host}\n"
        ));
    }
    plan.feed(
        "join the user to both hosts",
        argv(["ip", "-batch", "-"]),
        batch,
    );
    let bridge =
        "link add name bridge type bridge stp_state 0 forward_delay 0\nlink set bridge up\n";
    for host in hosts {
        let batch = format!("{bridge}link set users master bridge up\n");
        plan.feed(
            format!("bridge at {}", host.namespace),
            ip_batch(&host.namespace, assets),
            batch,
        );
    }
    let batch = format!(
        "{bridge}link set lo up\n\
         link set port0 master bridge up\nlink set port1 master bridge up\n"
    );
    plan.feed("the user's bridge", ip_batch("user", assets), batch);
    address("user", assets, plan);
}

/// The user's address on a bridge, from where the guest is reached.
fn address(namespace: &str, assets: &Assets, plan: &mut Plan) {
    let batch = format!(
        "address add {USER}/24 dev bridge\n\
         neighbour add {GUEST} lladdr {} dev bridge nud permanent\n",
        guest::MAC
    );
    plan.feed("the user's address", ip_batch(namespace, assets), batch);
}

/// A user in this namespace, who asks the guest without end.
pub fn user(namespace: &str, assets: &Assets, plan: &mut Plan) {
    address(namespace, assets, plan);
    asks(namespace, None, assets, plan);
}

/// The user asks; before the herald's file is there, now and then.
fn asks(namespace: &str, herald: Option<&str>, assets: &Assets, plan: &mut Plan) {
    let mut probe = assets.tool(["probe", "--to", &format!("{GUEST}:7"), "--interval", PROBE]);
    if let Some(herald) = herald {
        probe.extend(argv(["--rest-until", herald]));
    }
    plan.start(
        "the user asks the guest without end",
        "probe",
        assets.inside(namespace, probe),
        super::Ready::Now,
    );
}

/// Counts what the migration brings to a host, behind its tunnel. QEMU counts no
/// state of devices, and what TCP sends twice arrives once.
fn count(host: &str, assets: &Assets, plan: &mut Plan) {
    let rules = format!(
        "add table inet watari\n\
         add counter inet watari arrived\n\
         add chain inet watari in {{ type filter hook input priority filter; }}\n\
         add rule inet watari in tcp dport {PORT} counter name arrived\n"
    );
    plan.feed(
        format!("{host} counts what arrives"),
        assets.inside(host, argv(["nft", "-f", "-"])),
        rules,
    );
}

fn live(
    scenario: &Scenario,
    order: &Migrate,
    vm: &models::scenario::Vm,
    hosts: &[Node; 2],
    assets: &Assets,
    plan: &mut Plan,
) -> Result<(), Unsupported> {
    guest::start(
        vm,
        guest::Role::Source,
        &guest::From::Ready,
        &hosts[0].namespace,
        assets,
        plan,
    );
    guest::start(
        vm,
        guest::Role::Target,
        &guest::From::Migration,
        &hosts[1].namespace,
        assets,
        plan,
    );
    guest::prepare(vm, assets, plan);
    guest::work(vm, assets, plan);
    asks("user", Some(&assets.path(HERALD)), assets, plan);
    count(&hosts[1].namespace, assets, plan);
    plan.push("the guest writes", super::Action::Pause(SETTLE));
    let limit = Duration::from_nanos(order.time_limit.as_nanos());
    plan.measure(
        "migrate",
        "migrate",
        limit + Duration::from_secs(60),
        migrate(scenario, order, assets)?,
    );
    plan.push(
        "the user notices",
        super::Action::Pause(Duration::from_millis(300)),
    );
    plan.stop("the user's account", "probe");
    let counters = argv(["nft", "-j", "list", "counters"]);
    plan.measure(
        "what arrived",
        ARRIVED,
        Duration::from_secs(60),
        assets.inside(&hosts[1].namespace, counters),
    );
    guest::verify(guest::Role::Target, assets, plan);
    Ok(())
}

fn migrate(
    scenario: &Scenario,
    order: &Migrate,
    assets: &Assets,
) -> Result<super::Argv, Unsupported> {
    let tunnel = order.tunnel.map(|index| &scenario.tunnels[index]);
    let address = match tunnel {
        Some(tunnel) if tunnel.mode == Mode::Wireguard => wireguard::address(1),
        _ => Network::address(1),
    };
    let uri = format!("tcp:{address}:{PORT}");
    let method = match order.method {
        Method::StopAndCopy => "stop-and-copy",
        Method::PostCopy => "post-copy",
        _ => "pre-copy",
    };
    let seconds = order
        .time_limit
        .as_nanos()
        .div_ceil(1_000_000_000)
        .to_string();
    let mut line = assets.tool([
        "migrate",
        "--source",
        &guest::qmp(guest::Role::Source, assets),
        "--target",
        &guest::qmp(guest::Role::Target, assets),
        "--uri",
        &uri,
        "--method",
        method,
        "--time-limit-s",
        &seconds,
        "--herald",
        &assets.path(HERALD),
    ]);
    match &order.stop_rule {
        Some(StopRule::Qemu(qemu)) => line.extend(qemu_options(qemu)),
        // A guest that is stopped has no rounds to end.
        None => {}
        Some(_) => {
            return Err(Unsupported(
                "its stop rule is not QEMU's; use `stop_rule.qemu`".to_owned(),
            ));
        }
    }
    Ok(line)
}

fn qemu_options(qemu: &Qemu) -> super::Argv {
    let limit = (qemu.downtime_limit.as_nanos() / 1_000_000).to_string();
    let bandwidth = qemu.max_bandwidth.bytes_per_second().to_string();
    let mut words = argv(["--downtime-limit-ms", &limit, "--max-bandwidth", &bandwidth]);
    if let Some(cache) = qemu.xbzrle {
        words.extend(argv(["--xbzrle-cache", &cache.get().to_string()]));
    }
    if let Some(channels) = qemu.multifd {
        words.extend(argv(["--multifd-channels", &channels.to_string()]));
    }
    if let Some(converge) = qemu.auto_converge {
        let values = [
            converge.trigger,
            converge.initial,
            converge.increment,
            converge.max,
        ];
        words.push("--auto-converge".to_owned());
        words.extend(values.iter().map(u32::to_string));
    }
    words
}
