//! Max-min fair shares of links.
//!
//! Models the rates of flows with a demand each that share resources: rates
//! grow alike until a flow has what it wants or a resource is full (progressive
//! filling; Bertsekas and Gallager, Data Networks, section 6.5.2).
//!
//! Leaves out: the dependence of TCP's share on its round-trip time, bursts.
//!
//! Who would notice: users who compare flows of very different round-trip
//! times on one bottleneck; Reno would give the short one more.

use crate::wan::Resource;

/// Scratch memory of the allocation, kept between calls.
#[derive(Clone, Debug, Default)]
pub struct Fair {
    left: Vec<f64>,
    users: Vec<u32>,
    open: Vec<usize>,
}

/// One flow: what it asks for and gets.
#[derive(Clone, Debug)]
pub struct Share<'a> {
    /// Rate it would use alone, bytes a second on the link.
    pub demand: f64,
    /// What it crosses.
    pub resources: &'a [Resource],
    /// Rate it gets.
    pub rate: f64,
    /// Resource that keeps it from more, if one does.
    pub bottleneck: Option<Resource>,
}

impl Fair {
    /// Fills in `rate` and `bottleneck` of every share.
    pub fn allocate(&mut self, capacity: &[f64], shares: &mut [Share<'_>]) {
        self.left.clear();
        self.left.extend_from_slice(capacity);
        self.users.clear();
        self.users.resize(capacity.len(), 0);
        self.open.clear();
        self.open.extend(0..shares.len());
        for &resource in shares.iter().flat_map(|share| share.resources) {
            self.users[resource] += 1;
        }
        while !self.open.is_empty() {
            let next = self.next_full(shares);
            let level = next.map_or(f64::INFINITY, |(level, _)| level);
            // Flows that want no more than the level never fill a resource below it.
            let modest = self.freeze(shares, |share| {
                (share.demand <= level).then_some(share.demand)
            });
            if !modest && let Some((level, resource)) = next {
                self.freeze(shares, |share| {
                    share.bottleneck = share.resources.contains(&resource).then_some(resource);
                    share.bottleneck.map(|_| level)
                });
            }
        }
    }

    /// The resource that fills first, and the level of its flows then.
    fn next_full(&self, shares: &[Share<'_>]) -> Option<(f64, Resource)> {
        let used = self.open.iter().flat_map(|&flow| shares[flow].resources);
        let full = |&resource: &Resource| {
            let level = self.left[resource].max(0.0) / f64::from(self.users[resource]);
            (level, resource)
        };
        used.map(full).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Gives the open flows for which `rate` has one their rate, and says
    /// whether there were any.
    fn freeze(
        &mut self,
        shares: &mut [Share<'_>],
        rate: impl Fn(&mut Share<'_>) -> Option<f64>,
    ) -> bool {
        let Self { left, users, open } = self;
        let before = open.len();
        open.retain(|&flow| {
            let share = &mut shares[flow];
            let Some(rate) = rate(share) else { return true };
            share.rate = rate;
            for &resource in share.resources {
                left[resource] -= rate;
                users[resource] -= 1;
            }
            false
        });
        open.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(capacity: &[f64], flows: &[(f64, &[usize])]) -> Vec<f64> {
        let mut shares: Vec<Share<'_>> = flows
            .iter()
            .map(|&(demand, resources)| Share {
                demand,
                resources,
                rate: 0.0,
                bottleneck: None,
            })
            .collect();
        Fair::default().allocate(capacity, &mut shares);
        shares.iter().map(|share| share.rate).collect()
    }

    // Bertsekas and Gallager's example in small: link 0 of 1 shared by a and b,
    // link 1 of 3 by b and c. a = b = 1/2, c gets the rest: 5/2.
    #[test]
    fn what_one_flow_cannot_use_goes_to_the_others() {
        let inf = f64::INFINITY;
        assert_eq!(
            rates(&[1.0, 3.0], &[(inf, &[0]), (inf, &[0, 1]), (inf, &[1])]),
            [0.5, 0.5, 2.5]
        );
    }

    #[test]
    fn a_modest_flow_gets_what_it_asks_for() {
        let inf = f64::INFINITY;
        assert_eq!(
            rates(&[10.0], &[(1.0, &[0]), (inf, &[0]), (inf, &[0])]),
            [1.0, 4.5, 4.5]
        );
    }

    #[test]
    fn a_flow_without_links_gets_its_demand() {
        assert_eq!(rates(&[], &[(7.0, &[])]), [7.0]);
    }
}
