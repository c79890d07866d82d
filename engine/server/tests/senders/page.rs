//! The settings that a source's page says to paste, as they are tested here.

use std::fs;
use std::path::Path;

/// Where the pages' examples send to.
const EXAMPLE: &str = "https://untoil.example.com";

/// The block of code of `docs/sources/<page>.md` that holds a text.
pub(crate) fn block(page: &str, holding: &str) -> String {
    let path = format!("../../docs/sources/{page}.md");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let mut found = blocks.filter_map(|block| {
        // Behind the fence stands the language.
        let code = block.split_once('\n')?.1;
        code.contains(holding).then(|| code.to_owned())
    });
    found.next().unwrap_or_else(|| panic!("no block of {page}.md holds `{holding}`"))
}

/// The same with one text instead of another that must be there.
pub(crate) fn with(block: &str, old: &str, new: &str) -> String {
    assert!(block.contains(old), "no `{old}` in the page's settings:\n{block}");
    block.replace(old, new)
}

/// The same, sending to a port of this machine.
pub(crate) fn sending_to(block: &str, port: u16) -> String {
    with(block, EXAMPLE, &format!("http://127.0.0.1:{port}"))
}

/// The same with what it says instead behind `# or: `, in place of the line before.
pub(crate) fn otherwise(block: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in block.lines() {
        if let Some((space, other)) = line.split_once("# or: ") {
            lines.pop();
            lines.push(format!("{space}{other}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    let text = lines.join("\n") + "\n";
    assert_ne!(text, block, "the page's settings say nothing else");
    text
}
