//! What would be done for a case, as the script that a person reads. No root.

use emulate::plan::script::script;
use emulate::plan::{Action, Assets, Plan};
use emulate::run::plan;
use models::scenario::{self, Study};

fn study(file: &str) -> Study {
    let path = format!("{}/../scenarios/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    scenario::parse(&text, &mut |_| Err("no trace".to_owned())).unwrap()
}

fn assets() -> Assets {
    Assets {
        run: "watari-test".to_owned(),
        folder: "/run/watari/watari-test".to_owned(),
        watari: "watari".to_owned(),
        kernel: "vmlinuz".to_owned(),
        initrd: "guest.cpio".to_owned(),
        state: Some("guest.state".to_owned()),
        accel: "tcg".to_owned(),
    }
}

fn plan_of(study: &Study, case: &str) -> Plan {
    let case = study.cases.iter().find(|c| c.id == case).unwrap();
    plan(study, case, 0, false, &assets()).unwrap()
}

#[test]
fn pre_copy_through_esp_is_this_script() {
    let study = study("validation/distance.toml");
    let plan = plan_of(&study, "rtt=60ms,tunnel=esp-cbc");
    insta::assert_snapshot!(script(&plan, &assets(), "pre-copy through ESP"));
}

#[test]
fn every_case_of_the_validation_has_a_plan() {
    for file in ["distance", "writes", "methods", "lines"] {
        let study = study(&format!("validation/{file}.toml"));
        for case in &study.cases {
            let plan = plan(&study, case, 0, true, &assets());
            assert!(plan.is_ok(), "{file} {}: {}", case.id, plan.unwrap_err());
        }
    }
}

#[test]
fn every_namespace_that_is_made_is_removed_and_bears_the_name_of_the_run() {
    let study = study("validation/methods.toml");
    for step in plan_of(&study, "rtt=20ms,method=post-copy").steps {
        let Action::Run { argv, .. } = &step.action else {
            continue;
        };
        if argv[..3] == ["ip", "netns", "add"] {
            assert!(argv[3].starts_with("watari-test-"), "{argv:?}");
            let undo = ["ip", "netns", "del", &argv[3]].map(str::to_owned).to_vec();
            assert_eq!(step.undo, Some(undo));
        }
    }
}
