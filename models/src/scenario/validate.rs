//! Text to a checked [`Study`], or to every fault that was found.

use std::collections::BTreeSet;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::DeValue;

use super::build::build;
use super::check::Check;
use super::document::{self, Node, Table, start};
use super::fault::{Fault, Faults};
use super::file::ScenarioFile;
use super::sweep::{self, Sweep};
use super::trace::Traces;
use super::{Case, Scenario, Study, expect, tolerance};

/// Most memory, in bytes and by estimate, that the cases of one scenario may take.
const MOST_MEMORY: usize = 1 << 30;

/// Reads and checks a scenario. `load` gives the text of a trace file by its
/// path relative to the scenario, or says why it cannot.
///
/// # Errors
/// All faults that could be found, in the order of their places.
pub fn parse(
    text: &str,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Study, Vec<Fault>> {
    let mut faults = Faults::new();
    let Some(tree) = document::read(text, &mut faults) else {
        return Err(faults.into_vec());
    };
    let sweep = sweep::read(&tree, &mut faults);
    Check {
        faults: &mut faults,
        provided: &|path| sweep.provides(path),
    }
    .document(&tree);
    if !faults.is_empty() {
        return Err(faults.into_vec());
    }
    let mut traces = Traces::new(load);
    let cases = cases(&tree, &sweep, &mut traces, &mut faults);
    let ids: BTreeSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    // Without all cases there is nothing to compare the ids with.
    let expectations = if cases.len() == sweep.cases() {
        expect::read(&tree, &sweep.axes, &ids, &mut faults)
    } else {
        Vec::new()
    };
    let tolerances = tolerance::read(&tree, &mut faults);
    let head = head(&tree, &mut faults);
    let Some(head) = head.filter(|_| faults.is_empty()) else {
        return Err(faults.into_vec());
    };
    Ok(Study {
        name: head.name,
        description: head.description,
        hash: hash(text, &traces),
        seed: head.seed,
        replications: head.replications.count,
        confidence: head.replications.confidence,
        axes: sweep.axes,
        cases: cases
            .into_iter()
            .filter_map(|case| {
                Some(Case {
                    id: case.id,
                    scenario: case.scenario?,
                })
            })
            .collect(),
        expectations,
        tolerances,
    })
}

/// A case, with its scenario if it has one.
struct Tried {
    id: String,
    scenario: Option<Scenario>,
}

fn cases<'t>(
    tree: &Table<'t>,
    sweep: &Sweep<'t>,
    traces: &mut Traces<'_>,
    faults: &mut Faults,
) -> Vec<Tried> {
    let mut base = tree.clone();
    base.remove("sweep");
    base.remove("expect");
    base.remove("tolerance");
    let swept: usize = sweep
        .fields()
        .map(|values| values.iter().map(weight).max().unwrap_or(0))
        .sum();
    let each = base.values().map(weight).sum::<usize>() + swept;
    let total = each.saturating_mul(sweep.cases());
    if total > MOST_MEMORY {
        let span = tree.get("sweep").map_or_else(|| start(tree), Spanned::span);
        let message = "the cases of this scenario would take more than 1 GiB of memory";
        faults.push(Fault::new(span, message, "").help("make the sweep or the scenario smaller"));
        return Vec::new();
    }
    traces.limit(MOST_MEMORY - total);
    let mut cases = Vec::with_capacity(sweep.cases());
    for index in 0..sweep.cases() {
        let (id, case) = sweep.case(&base, index);
        let mut found = faults.for_case();
        let scenario = scenario(case, &sweep.axes, traces, &mut found);
        let clean = found.is_empty();
        faults.absorb(found, &id);
        // A scenario with faults is of no use, and its memory neither.
        cases.push(Tried {
            id,
            scenario: scenario.filter(|_| clean),
        });
        if faults.is_full() {
            break;
        }
    }
    faults.name_cases(cases.len());
    cases
}

/// One case: structure once more, since the sweep may have changed it, then meaning.
fn scenario(
    case: Table<'_>,
    axes: &[super::Axis],
    traces: &mut Traces<'_>,
    faults: &mut Faults,
) -> Option<Scenario> {
    if !axes.is_empty() {
        Check {
            faults,
            provided: &|_| false,
        }
        .document(&case);
        if !faults.is_empty() {
            return None;
        }
    }
    let file = deserialize(case.clone(), faults)?;
    Some(build(&file, &case, traces, faults))
}

/// The document without sweep and expectations: what belongs to all cases.
fn head(tree: &Table<'_>, faults: &mut Faults) -> Option<ScenarioFile> {
    let mut head = Table::new();
    for (key, node) in tree {
        if matches!(
            key.get_ref().as_ref(),
            "name" | "description" | "seed" | "replications"
        ) {
            head.insert(key.clone(), node.clone());
        }
    }
    deserialize(head, faults)
}

fn deserialize(table: Table<'_>, faults: &mut Faults) -> Option<ScenarioFile> {
    let at = start(&table);
    let deserializer = toml::de::Deserializer::from(Spanned::new(at.clone(), table));
    match ScenarioFile::deserialize(deserializer) {
        Ok(file) => Some(file),
        Err(error) => {
            faults.push(Fault::new(error.span().unwrap_or(at), error.message(), ""));
            None
        }
    }
}

/// Estimate of the memory that a value takes in a checked scenario: a table
/// becomes a record with defaults, anything else a field of one.
fn weight(node: &Node<'_>) -> usize {
    match node.get_ref() {
        DeValue::Table(table) => 256 + table.values().map(weight).sum::<usize>(),
        DeValue::Array(array) => 16 + array.iter().map(weight).sum::<usize>(),
        _ => 16,
    }
}

/// Without traces, what `sha256sum` says of the file; with them, of the
/// scenario and the traces in the order of their names, one after the other.
fn hash(text: &str, traces: &Traces<'_>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(text);
    for trace in traces.texts() {
        hasher.update(trace);
    }
    hasher
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Detection, Dirty, Pattern, StopRule, What, When};
    use super::*;
    use crate::units::Bytes;
    use sim_core::{SimDuration, SimTime};

    const EVERYTHING: &str = include_str!("everything.toml");

    const TRACE: &str = "start_s,rate_mib_s,working_set_mib\n0,10,64\n60,0,0\n";

    fn load(name: &str) -> Result<String, String> {
        if name == "traces/web.csv" {
            Ok(TRACE.to_owned())
        } else {
            Err("no such file".to_owned())
        }
    }

    fn study(text: &str) -> Study {
        parse(text, &mut load).unwrap_or_else(|faults| {
            panic!(
                "{}",
                super::super::fault::render("test.toml", text, &faults, false)
            )
        })
    }

    #[test]
    fn every_kind_of_entry_reaches_the_study() {
        let study = study(EVERYTHING);
        assert_eq!(
            (study.name.as_str(), study.seed, study.replications),
            ("everything", 7, 3)
        );
        let ids: Vec<&str> = study.cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(ids.len(), 9);
        assert_eq!(
            ids[..4],
            [
                "rtt=10ms,method=plain",
                "rtt=10ms,method=esp",
                "rtt=10ms,method=xen",
                "rtt=20ms,method=plain"
            ]
        );
        let scenario = &study.cases[4].scenario;
        assert_eq!(scenario.sites, ["office", "osaka", "tokyo"]);
        assert_eq!(scenario.links[1].delay, SimDuration::from_millis(10));
        assert_eq!(scenario.links[1].sites, [2, 1]);
        assert_eq!(
            scenario.traffic[0].stop,
            SimTime::ZERO + SimDuration::from_secs(3600)
        );
        let dirty = |index: usize| &scenario.vms[index].dirty;
        assert!(
            matches!(dirty(0), Dirty::Constant { working_set, .. } if working_set.get() == 1 << 30)
        );
        assert_eq!(*dirty(1), Dirty::Idle);
        assert!(
            matches!(dirty(2), Dirty::Zipf { working_set, .. } if working_set.get() == 128 << 20)
        );
        assert!(
            matches!(dirty(3), Dirty::Trace { phases, pattern: Pattern::Random } if phases.len() == 2)
        );
        assert!(
            matches!(dirty(4), Dirty::HotCold { cold, .. } if *cold == Bytes::new((4096 - 256) << 20))
        );
        let vpn = scenario.tunnels[1].vpn.as_ref().unwrap();
        assert_eq!((vpn.client, vpn.gateways.as_slice()), (0, &[0, 1][..]));
        assert!(matches!(
            vpn.detection,
            Some(Detection::Strongswan { tries: 5, .. })
        ));
        assert_eq!(
            scenario.actions[0].when,
            When::Exponential {
                mean: SimDuration::from_secs(1800)
            }
        );
        let first = &study.expectations[0];
        assert_eq!(
            (first.published, first.min, first.max),
            (Some(100.0), Some(95.0), Some(104.0))
        );
        let tolerances: Vec<_> = study
            .tolerances
            .iter()
            .map(|t| (t.measure.info().name, t.relative, t.absolute))
            .collect();
        assert_eq!(
            tolerances,
            [
                ("total_time_ms", Some(0.05), None),
                ("downtime_ms", Some(0.15), Some(30.0)),
                ("bytes_sent", None, Some(1024.0)),
                ("retransmission_rung", None, Some(1.0)),
            ]
        );
    }

    #[test]
    fn a_dash_takes_a_key_away_and_a_point_moves_all_its_keys() {
        let study = study(EVERYTHING);
        let moves = study.cases[..3]
            .iter()
            .map(|case| match &case.scenario.actions[3].what {
                What::Migrate(migrate) => (migrate.tunnel, migrate.stop_rule.clone().unwrap()),
                other => panic!("{other:?}"),
            });
        let moves: Vec<(Option<usize>, StopRule)> = moves.collect();
        assert!(matches!(moves[0], (None, StopRule::Qemu(_))));
        assert!(matches!(moves[1], (Some(0), StopRule::Simgrid { .. })));
        assert_eq!(moves[2], (None, StopRule::Xen46));
    }

    #[test]
    fn without_traces_the_hash_is_that_of_the_file() {
        let study = study("name = \"abc\"\nseed = 1\n");
        // printf 'name = "abc"\nseed = 1\n' | sha256sum
        assert_eq!(study.hash, "8100aae81f4a");
        assert_eq!(study.cases[0].id, "base");
    }

    #[test]
    fn a_fault_of_a_swept_value_stands_at_that_value_and_names_the_case() {
        let text = EVERYTHING.replace("\"-\", \"esp\", \"-\"", "\"-\", \"epsilon\", \"-\"");
        let faults = parse(&text, &mut load).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert_eq!(&text[faults[0].span.clone()], "\"epsilon\"");
        assert_eq!(faults[0].message, "there is no tunnel `epsilon`");
        assert!(
            faults[0]
                .help
                .as_ref()
                .unwrap()
                .contains("found in case `rtt=10ms,method=esp`")
        );
    }

    #[test]
    fn a_short_file_cannot_ask_for_too_much() {
        let head = "name = \"a\"\nseed = 1\n[site.a]\n[sweep.x]\n";
        let values: Vec<String> = (0..400)
            .map(|value| format!("\"{}s\"", value + 1))
            .collect();
        let values = values.join(",");
        let text = format!("{head}until = [{values}]\n[sweep.y]\nseries = [{values}]\n");
        assert_eq!(
            parse(&text, &mut load).unwrap_err()[0].message,
            "the sweep has 400 × 400 cases"
        );
    }
}
