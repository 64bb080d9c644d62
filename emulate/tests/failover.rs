//! The plan of a fail-over as a person would read it. Needs no rights.

use emulate::plan::{Action, Assets, Plan, failover, script::script};
use models::scenario::{Study, parse};

const SCENARIO: &str = include_str!("../../scenarios/validation/failover.toml");

fn study(text: &str) -> Study {
    let no_files = &mut |name: &str| Err(format!("no `{name}`"));
    parse(text, no_files).expect("the scenario is right")
}

fn assets() -> Assets {
    let name = str::to_owned;
    Assets {
        run: name("watari-test"),
        folder: name("/run/watari/watari-test"),
        watari: name("watari"),
        kernel: name("vmlinuz"),
        initrd: name("guest.cpio"),
        state: None,
        accel: name("tcg"),
    }
}

fn plan(study: &Study, case: &str, repeat: u32) -> Plan {
    let case = study.cases.iter().find(|one| one.id == case).unwrap();
    failover::plan(study, case, repeat, true, &assets()).unwrap()
}

#[test]
fn the_script_of_a_fail_over_with_a_relay() {
    let study = study(SCENARIO);
    let plan = plan(&study, "rtt=40ms,relay=with", 0);
    insta::assert_snapshot!(script(&plan, &assets(), "a fail-over"));
}

/// When the first gateway loses power.
fn failure(plan: &Plan) -> std::time::Duration {
    let power_off = plan
        .steps
        .iter()
        .position(|step| step.title.starts_with("power-off"));
    match plan.steps[power_off.unwrap() - 1].action {
        Action::Until(at) => at,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn the_gateway_dies_when_the_simulator_says_whatever_else_the_case_is() {
    let study = study(SCENARIO);
    let with = failure(&plan(&study, "rtt=40ms,relay=with", 1));
    let without = failure(&plan(&study, "rtt=120ms,relay=without", 1));
    let case = &study.cases[0];
    let drawn = models::simulate::draws(&study, case, 1).actions[0];
    assert_eq!(with, without);
    assert_eq!(with.as_nanos(), u128::from(drawn.as_nanos()));
    assert_ne!(with, failure(&plan(&study, "rtt=40ms,relay=with", 2)));
}

#[test]
fn what_no_lab_has_is_refused() {
    let libreswan = "detection.libreswan = { dpd_delay = \"10s\" }";
    let probe = SCENARIO
        .lines()
        .find(|line| line.starts_with("detection.probe"));
    let study = study(&SCENARIO.replace(probe.unwrap(), libreswan));
    let fault = failover::plan(&study, &study.cases[0], 0, true, &assets()).unwrap_err();
    assert!(fault.to_string().contains("libreswan"), "{fault}");
}
