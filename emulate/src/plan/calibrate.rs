//! What a path and a machine really do, measured before a case: never on a
//! migration itself.

use std::time::Duration;

use models::scenario::Scenario;
use models::wan::{Topology, hops};

use super::{Action, Assets, Plan, Ready};

/// Names under which the measurements of a path are kept.
pub const PING: &str = "link-ping";
/// TCP throughput.
pub const TCP: &str = "link-tcp";
/// Loss of UDP packets.
pub const UDP: &str = "link-udp";

/// What was asked of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Round-trip time in seconds.
    pub rtt: f64,
    /// Rate of its slowest link in bits a second.
    pub rate: f64,
}

impl Path {
    /// The path between two sites.
    pub fn of(scenario: &Scenario, ends: [usize; 2]) -> Self {
        let topology = Topology::new(scenario);
        let hops = hops(scenario, &topology, &ends).unwrap_or_default();
        let links = || hops.iter().map(|&(link, _)| &scenario.links[link]);
        let rates = links().map(|link| link.rate.bits_per_second() as f64);
        Self {
            rtt: links().map(|link| 2.0 * link.delay.as_secs_f64()).sum(),
            rate: rates.fold(f64::INFINITY, f64::min),
        }
    }
}

/// Round trips by ping, rate by a TCP flow, loss by UDP at half the rate, from
/// the first namespace to the second.
pub fn path(path: &Path, ends: [&str; 2], assets: &Assets, plan: &mut Plan) {
    let target = super::network::Network::address(1);
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let limit = Duration::from_secs(120);
    plan.measure(
        "round trips of the path",
        PING,
        limit,
        assets.inside(ends[0], words(&format!("ping -q -n -c 10 -i 0.2 {target}"))),
    );
    // A window opens in some tens of round trips; the last intervals count.
    let seconds = (1.0 + 20.0 * path.rtt).ceil();
    let tcp = words(&format!(
        "iperf3 -J --get-server-output -i 0.25 -t {seconds} -c {target}"
    ));
    let half = (path.rate / 2.0).min(1e8);
    let udp = words(&format!(
        "iperf3 -J -u -b {half:.0} -l 1200 -t 1 -c {target}"
    ));
    for (title, keep, client) in [("rate", TCP, tcp), ("loss", UDP, udp)] {
        plan.start(
            format!("a peer to measure the {title} with"),
            "iperf",
            assets.inside(ends[1], words("iperf3 -s -1 --forceflush")),
            Ready::Prints,
        );
        plan.measure(
            &format!("{title} of the path"),
            keep,
            limit,
            assets.inside(ends[0], client),
        );
        let name = "iperf".to_owned();
        plan.push("the peer has served", Action::Join { name, limit });
    }
}
