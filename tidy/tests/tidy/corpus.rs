//! The corpus of recorded deliveries beside the repository may be read by tests, never committed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::checkout::{paths, root};
use crate::none;

/// Shorter files, such as `{}`, are the same without having been copied.
const BYTES_MIN: usize = 16;

/// Every file below a folder, by its text without the blank space at both ends.
fn below(folder: &Path, found: &mut BTreeMap<Vec<u8>, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            below(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.insert(bytes.trim_ascii().to_vec(), path.display().to_string());
        }
    }
}

/// Committed files that are copies.
fn copies(ours: &[(String, Vec<u8>)], corpus: &BTreeMap<Vec<u8>, String>) -> Vec<String> {
    let long = ours.iter().filter(|(_, bytes)| bytes.len() >= BYTES_MIN);
    let same = long.filter(|(_, bytes)| corpus.contains_key(bytes.trim_ascii()));
    same.map(|(path, _)| format!("`{path}` is a copy of a file of the corpus")).collect()
}

#[test]
fn no_file_of_the_corpus_is_committed() {
    let folder = root().join("../shared/corpus");
    if !folder.is_dir() {
        eprintln!("SKIPPED: ../shared/corpus is absent");
        return;
    }
    let mut corpus = BTreeMap::new();
    below(&folder, &mut corpus);
    let ours = paths().into_iter().filter_map(|path| {
        let bytes = fs::read(root().join(&path)).ok()?;
        Some((path, bytes))
    });
    none(&copies(&ours.collect::<Vec<_>>(), &corpus));
}

#[test]
fn a_copy_is_found_even_with_another_line_break() {
    let text = b"{\"alarm\": \"something long enough\"}";
    let corpus = BTreeMap::from([(text.to_vec(), "corpus/a.json".to_owned())]);
    let ours = |bytes: &[u8]| vec![("a.json".to_owned(), bytes.to_vec())];
    assert_eq!(copies(&ours(text), &corpus).len(), 1);
    assert_eq!(copies(&ours(&[text, &b"\n"[..]].concat()), &corpus).len(), 1);
    assert_eq!(copies(&ours(b"{\"alarm\": \"something else, as long\"}"), &corpus).len(), 0);
}
