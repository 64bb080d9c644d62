//! Rules of the repository that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crate of the workspace may use which.
const ARROWS: [(&str, &[&str]); 5] = [
    ("sim-core", &[]),
    ("models", &["sim-core"]),
    ("emulate", &["models", "sim-core"]),
    ("plots", &["models", "sim-core"]),
    ("cli", &["emulate", "models", "plots", "sim-core"]),
];

/// What in `models/src` is no model.
const NO_MODELS: [&str; 10] = [
    "compare",
    "compare.rs",
    "lib.rs",
    "record.rs",
    "summary.rs",
    "units.rs",
    "simulate.rs",
    "verify.rs",
    "world.rs",
    "scenario",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn read(file: &str) -> String {
    let path = root().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let generated = ["target", "out", ".git"]
            .iter()
            .any(|name| entry.file_name() == *name);
        // `is_dir` of the entry, which is false for a link: links may lead in a circle.
        if entry.file_type().unwrap().is_dir() {
            if !generated {
                found.extend(files(&entry.path()));
            }
        } else if entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// The Rust files of `models/src` with their path below it.
fn model_files() -> Vec<(String, String)> {
    let folder = root().join("models/src");
    let rust = files(&folder)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "rs"));
    rust.map(|file| {
        let name = file
            .strip_prefix(&folder)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        (name, fs::read_to_string(&file).unwrap())
    })
    .collect()
}

#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let cargo = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        cargo.status.success(),
        "{}",
        String::from_utf8_lossy(&cargo.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(
        packages.len(),
        ARROWS.len(),
        "a new crate needs a line in ARROWS"
    );
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let allowed = ARROWS.iter().find(|(crate_name, _)| *crate_name == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{name} is not in ARROWS"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            let ours = ARROWS
                .iter()
                .any(|(crate_name, _)| *crate_name == dependency);
            assert!(
                !ours || allowed.contains(&dependency),
                "{name} must not use {dependency}"
            );
        }
    }
}

#[test]
fn every_file_of_the_models_says_what_it_is() {
    for (name, text) in model_files() {
        assert!(
            text.starts_with("//! "),
            "models/src/{name} does not start with `//! `"
        );
    }
}

#[test]
fn every_model_says_what_it_leaves_out_and_who_would_notice() {
    for (name, text) in model_files() {
        if NO_MODELS.contains(&name.split('/').next().unwrap()) {
            continue;
        }
        let head: String = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        for words in ["Leaves out", "Who would notice"] {
            assert!(
                head.contains(words),
                "the head of models/src/{name} lacks `{words}`"
            );
        }
    }
}

#[test]
fn generated_files_are_those_of_this_code() {
    let schema = serde_json::to_string_pretty(&models::scenario::check::schema()).unwrap() + "\n";
    let generated = [
        ("results/FORMAT.md", models::record::format_markdown()),
        ("scenarios/scenario.schema.json", schema),
    ];
    for (file, wanted) in generated {
        assert!(
            fs::read_to_string(root().join(file)).is_ok_and(|text| text == wanted),
            "{file} is missing or old; run scripts/regenerate"
        );
    }
}

#[test]
fn documents_stay_short() {
    for (file, most) in [("ARCHITECTURE.md", 150), ("CONTRIBUTING.md", 80)] {
        let lines = read(file).lines().count();
        assert!(
            lines <= most,
            "{file} has {lines} lines; {most} are allowed"
        );
    }
}

#[test]
fn no_file_names_the_folder_it_was_written_in() {
    let root = root();
    for place in [root.canonicalize().unwrap(), root.clone()] {
        // `/x` alone could be anything.
        if place.components().count() < 3 {
            continue;
        }
        let place = place.to_str().unwrap().to_owned();
        for file in files(&root) {
            let text = fs::read(&file).unwrap();
            let found = text
                .windows(place.len())
                .any(|part| part == place.as_bytes());
            assert!(!found, "{} contains `{place}`", file.display());
        }
    }
}
