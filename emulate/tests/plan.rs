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

/// The programs of watari, as they read their arguments.
#[derive(clap::Parser)]
struct Tools {
    #[command(subcommand)]
    _tool: emulate::tool::Tool,
}

#[test]
fn every_case_of_the_validation_has_a_plan_whose_programs_understand_their_arguments() {
    let files = [
        "distance",
        "writes",
        "methods",
        "lines",
        "images",
        "failover",
        "failover-dpd",
    ];
    let mut understood = 0;
    for file in files {
        let study = study(&format!("validation/{file}.toml"));
        for case in &study.cases {
            let plan = plan(&study, case, 0, true, &assets());
            let plan = plan.unwrap_or_else(|error| panic!("{file} {}: {error}", case.id));
            for step in plan.steps {
                let (Action::Run { argv, .. } | Action::Start { argv, .. }) = &step.action else {
                    continue;
                };
                let Some(at) = argv.iter().position(|word| word == "watari") else {
                    continue;
                };
                let read = <Tools as clap::Parser>::try_parse_from(&argv[at + 1..]);
                assert!(read.is_ok(), "{argv:?}: {}", read.err().unwrap());
                understood += 1;
            }
        }
    }
    assert!(understood > 300, "{understood}");
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
