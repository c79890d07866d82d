//! Who depends on whom. A new line in the table is a decision: it belongs into `ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkout::{read, root};
use crate::none;

/// One crate: where it lies, its package, its rank, and which of our crates it may name. It may name
/// only crates of a lower rank. What tests need (`dev-dependencies`) is not limited.
struct Place {
    path: &'static str,
    package: &'static str,
    rank: u8,
    may_name: &'static [&'static str],
}

const PLACES: [Place; 21] = [
    Place { path: "tidy", package: "untoil-tidy", rank: 0, may_name: &[] },
    Place { path: "engine/clock", package: "untoil-clock", rank: 0, may_name: &[] },
    Place { path: "engine/model", package: "untoil-model", rank: 0, may_name: &[] },
    Place { path: "deploy", package: "untoil-deploy", rank: 0, may_name: &[] },
    Place {
        path: "engine/journal",
        package: "untoil-journal",
        rank: 1,
        may_name: &["untoil-clock", "untoil-model"],
    },
    Place {
        path: "engine/store",
        package: "untoil-store",
        rank: 2,
        may_name: &["untoil-clock", "untoil-journal", "untoil-model"],
    },
    Place {
        path: "engine/health",
        package: "untoil-health",
        rank: 2,
        may_name: &["untoil-clock", "untoil-journal", "untoil-model"],
    },
    Place {
        path: "engine/guard",
        package: "untoil-guard",
        rank: 2,
        may_name: &["untoil-journal", "untoil-model"],
    },
    Place {
        path: "engine/intake",
        package: "untoil-intake",
        rank: 2,
        may_name: &["untoil-clock", "untoil-journal", "untoil-model"],
    },
    Place {
        path: "engine/notifier",
        package: "untoil-notifier",
        rank: 2,
        may_name: &["untoil-clock", "untoil-journal", "untoil-model"],
    },
    Place {
        path: "actions",
        package: "untoil-actions",
        rank: 3,
        may_name: &["untoil-deploy", "untoil-guard", "untoil-model"],
    },
    Place {
        path: "actions/aws",
        package: "untoil-aws",
        rank: 4,
        may_name: &[
            "untoil-actions",
            "untoil-clock",
            "untoil-guard",
            // its `Queue`: a way in is a port of the intake's
            "untoil-intake",
            "untoil-model",
        ],
    },
    Place {
        path: "engine/runner",
        package: "untoil-runner",
        rank: 4,
        may_name: &[
            "untoil-actions",
            "untoil-clock",
            "untoil-guard",
            "untoil-journal",
            "untoil-model",
        ],
    },
    Place {
        path: "sandbox",
        package: "untoil-sandbox",
        rank: 4,
        may_name: &["untoil-actions", "untoil-model"],
    },
    Place {
        path: "sandbox/world",
        package: "untoil-world",
        rank: 4,
        may_name: &[
            "untoil-actions",
            "untoil-clock",
            "untoil-deploy",
            "untoil-guard",
            "untoil-journal",
            "untoil-model",
        ],
    },
    Place {
        path: "engine/dispatcher",
        package: "untoil-dispatcher",
        rank: 5,
        may_name: &[
            "untoil-actions",
            "untoil-clock",
            "untoil-guard",
            "untoil-intake",
            "untoil-journal",
            "untoil-model",
            "untoil-runner",
            "untoil-sandbox",
        ],
    },
    Place { path: "engine/server", package: "untoil", rank: 6, may_name: ALL },
    // Nothing of the engine: what these find wrong must not be what they are made of.
    Place { path: "trials/postgres", package: "untoil-postgres", rank: 0, may_name: &[] },
    Place {
        path: "trials/crash",
        package: "untoil-crash",
        rank: 6,
        may_name: &["untoil-postgres"],
    },
    Place { path: "trials/simulation", package: "untoil-simulation", rank: 6, may_name: ALL },
    Place { path: "bench", package: "untoil-bench", rank: 6, may_name: ALL },
];

/// The two that put everything together.
const ALL: &[&str] = &[
    "untoil-actions",
    "untoil-aws",
    "untoil-clock",
    "untoil-deploy",
    "untoil-dispatcher",
    "untoil-guard",
    "untoil-health",
    "untoil-intake",
    "untoil-journal",
    "untoil-model",
    "untoil-notifier",
    "untoil-postgres",
    "untoil-runner",
    "untoil-sandbox",
    "untoil-store",
    "untoil-world",
];

/// External crates that only some of ours may name, outside of their tests, and who that is.
const ONLY: [(&str, &[&str]); 10] = [
    // `bench` measures the journal against a bare insert.
    ("rusqlite", &["engine/store", "bench"]),
    ("tokio-postgres", &["engine/store", "bench"]),
    ("sqlx", &[]),
    ("aws-sdk-", &["actions/aws"]),
    ("aws-smithy-", &["actions/aws"]),
    ("aws-config", &["actions/aws"]),
    // Checks signatures of SNS; `bench` makes some.
    ("aws-lc-rs", &["engine/intake", "bench"]),
    // A simulated AWS must never be what production runs on: the server uses it in `test` and `demo`.
    ("untoil-world", &["engine/server", "bench", "trials/simulation"]),
    // It starts servers, which only what measures does.
    ("untoil-postgres", &["trials/crash", "bench"]),
    ("rhai", &["sandbox"]),
];

/// The paths of the workspace's members, as the root `Cargo.toml` lists them.
pub(crate) fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let list = manifest.split_once("members = [").expect("a workspace has members").1;
    let list = list.split_once(']').expect("the list ends").0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The names in `[dependencies]` and in `[target.….dependencies]`, not those that only tests need.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = matches!(section, "dependencies" | "build-dependencies")
                || section.ends_with(".dependencies");
            for kind in ["dependencies.", "build-dependencies."] {
                found.extend(section.strip_prefix(kind).map(str::to_owned));
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            found.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    found
}

/// What is wrong with the directions, given each crate's manifest by its path.
fn directions(manifests: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, manifest) in manifests {
        let Some(place) = PLACES.iter().find(|place| place.path == path) else {
            wrong.push(format!("`{path}` is not in the table of crates in tidy"));
            continue;
        };
        if !manifest.contains(&format!("name = \"{}\"", place.package)) {
            wrong.push(format!("`{path}` is not the package `{}`", place.package));
        }
        for name in dependencies(manifest) {
            let Some(other) = PLACES.iter().find(|other| other.package == name) else { continue };
            let edge = format!("`{}` → `{name}`", place.package);
            if other.rank >= place.rank {
                wrong.push(format!("{edge} points backwards"));
            } else if !place.may_name.contains(&name.as_str()) {
                wrong.push(format!("{edge} is new: list it in tidy, with ARCHITECTURE.md"));
            }
        }
    }
    wrong
}

/// Who names an external crate that is reserved for others.
fn reserved(manifests: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, manifest) in manifests {
        for name in dependencies(manifest) {
            let rule = ONLY.iter().find(|(prefix, _)| {
                name == *prefix || (prefix.ends_with('-') && name.starts_with(prefix))
            });
            if let Some((_, may)) = rule
                && !may.contains(&path.as_str())
            {
                wrong.push(format!("`{path}` names `{name}`; only {may:?} may"));
            }
        }
    }
    wrong
}

fn manifests() -> BTreeMap<String, String> {
    let read = |path: String| (path.clone(), read(&format!("{path}/Cargo.toml")));
    members().into_iter().map(read).collect()
}

#[test]
fn dependencies_point_one_way() {
    none(&directions(&manifests()));
}

#[test]
fn reserved_crates_are_named_by_their_owners_only() {
    none(&reserved(&manifests()));
}

#[test]
fn the_table_is_the_workspace() {
    let mut listed: Vec<String> = PLACES.iter().map(|place| place.path.to_owned()).collect();
    let mut members = members();
    listed.sort();
    members.sort();
    assert_eq!(listed, members);
    for path in members {
        assert!(root().join(&path).join("Cargo.toml").is_file(), "`{path}` is no crate");
    }
}

#[test]
fn the_table_itself_points_one_way() {
    for place in &PLACES {
        for name in place.may_name {
            let other = PLACES.iter().find(|other| other.package == *name);
            let other = other.unwrap_or_else(|| panic!("`{name}` is not in the table"));
            assert!(other.rank < place.rank, "`{}` → `{name}`", place.package);
        }
    }
}

#[test]
fn a_back_edge_a_new_edge_and_a_stranger_are_found() {
    let table = [
        (
            "engine/model",
            "untoil-model",
            "untoil-journal",
            "`untoil-model` → `untoil-journal` points",
        ),
        ("engine/guard", "untoil-guard", "untoil-clock", "`untoil-guard` → `untoil-clock` is new"),
        ("engine/other", "untoil-other", "untoil-model", "`engine/other` is not in the table"),
    ];
    for (path, package, names, says) in table {
        let manifest =
            format!("[package]\nname = \"{package}\"\n[dependencies]\n{names}.workspace = true\n");
        let found = directions(&BTreeMap::from([(path.to_owned(), manifest)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(says), "{found:?}");
    }
}

#[test]
fn a_reserved_crate_is_found_and_one_for_tests_is_not() {
    let table = [
        ("engine/guard", "[dependencies]\nrusqlite.workspace = true\n", 1),
        ("engine/guard", "[dependencies]\nrusqlite = { workspace = true }\n", 1),
        ("engine/guard", "[dependencies.aws-sdk-ssm]\nworkspace = true\n", 1),
        ("engine/guard", "[target.'cfg(unix)'.dependencies]\naws-config = \"1\"\n", 1),
        ("engine/runner", "[dependencies]\nuntoil-world.workspace = true\n", 1),
        ("engine/runner", "[dev-dependencies]\nuntoil-world.workspace = true\n", 0),
        ("engine/intake", "[dependencies]\naws-lc-rs.workspace = true\n", 0),
        ("engine/store", "[dependencies]\n# why\nrusqlite.workspace = true\n", 0),
    ];
    for (path, manifest, n) in table {
        let found = reserved(&BTreeMap::from([(path.to_owned(), manifest.to_owned())]));
        assert_eq!(found.len(), n, "{path}: {manifest}: {found:?}");
    }
}
