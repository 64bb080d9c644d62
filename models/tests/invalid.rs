//! Every broken scenario in `scenarios/invalid` and what watari says about it.
//!
//! The messages are the snapshots in `tests/snapshots`: read them like prose
//! when they change. `INSTA_UPDATE=always cargo test` writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use models::scenario::{fault, parse};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/invalid")
}

fn load(name: &str) -> Result<String, String> {
    // The words of the operating system differ between systems.
    fs::read_to_string(folder().join(name)).map_err(|_| "no such file".to_owned())
}

#[test]
fn every_broken_scenario_is_explained() {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    assert!(files.len() >= 45, "only {} files", files.len());
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# "),
            "{name}: the first line says what is wrong"
        );
        let faults = parse(&text, &mut load)
            .err()
            .unwrap_or_else(|| panic!("{name} has no fault"));
        let shown = fault::render(&format!("{name}.toml"), &text, &faults, false);
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name.as_str(), shown);
        });
        let messages = faults
            .iter()
            .map(|fault| format!("{}{:?}\n", fault.message, fault.help))
            .collect();
        if let Some(other) = seen.insert(messages, name.clone()) {
            panic!("{name} and {other} say the same");
        }
    }
}

#[test]
fn no_snapshot_is_left_over() {
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    for entry in fs::read_dir(snapshots).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        // Other tests keep snapshots here too, with their module's name in front.
        if let Some(name) = file.strip_suffix(".snap")
            && !name.contains("__")
        {
            assert!(folder().join(format!("{name}.toml")).exists(), "{file}");
        }
    }
}
