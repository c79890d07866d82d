//! `docs/configuration.md` and `docs/cli.md` name every key, subcommand and option there is.

use crate::checkout::read;
use crate::none;

/// The words between `start` and the brace that closes it at the beginning of a line.
fn item<'a>(source: &'a str, start: &str) -> &'a str {
    let inside = source.split_once(start).map_or("", |(_, inside)| inside);
    inside.split_once("\n}").map_or("", |(inside, _)| inside)
}

/// Names of fields: `name: Type,`, with or without `pub(crate)`.
fn fields(item: &str) -> Vec<String> {
    let lines = item.lines().map(str::trim).filter(|line| line.ends_with(','));
    let names = lines.filter_map(|line| {
        let name = line.trim_start_matches("pub(crate) ").split_once(": ")?.0;
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        plain.then(|| name.to_owned())
    });
    names.collect()
}

/// Names of variants, in snake case.
fn variants(item: &str) -> Vec<String> {
    let lines = item.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| line.starts_with(char::is_uppercase));
    let names = names.map(|line| line.split(['(', '{', ',', ' ']).next().unwrap_or_default());
    names.map(str::to_ascii_lowercase).collect()
}

/// Keys of the configuration that the page does not have in backticks.
fn missing_keys(source: &str, page: &str) -> Vec<String> {
    let mut names = Vec::new();
    for start in [
        "struct Config {",
        "struct SlackConfig {",
        "struct SourceConfig {",
        "struct SnsSource {",
        "struct HmacSource {",
        "struct SignedTime {",
    ] {
        let found = fields(item(source, start));
        assert!(!found.is_empty(), "`{start}` has no fields: this check looks in the wrong place");
        names.extend(found);
    }
    names.extend(variants(item(source, "enum SecretFrom {")));
    let missing = names.iter().filter(|name| !page.contains(&format!("`{name}`")));
    missing.map(|name| format!("docs/configuration.md lacks `{name}`")).collect()
}

/// Subcommands and options that the page does not have in backticks.
fn missing_words(source: &str, page: &str) -> Vec<String> {
    let commands = variants(item(source, "enum Command {"));
    assert!(commands.len() > 5, "`Command` has no variants: this check looks in the wrong place");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let long = lines.windows(2).filter(|pair| pair[0].starts_with("#[arg(long"));
    let options = long.filter_map(|pair| {
        let name = pair[1].trim_start_matches("pub(crate) ").split_once(':')?.0;
        Some(format!("--{}", name.replace('_', "-")))
    });
    let commands = commands.iter().map(|name| format!("untoil {name}"));
    let all = commands.chain(options);
    let missing = all.filter(|word| {
        !page.contains(&format!("`{word}`")) && !page.contains(&format!("`{word} "))
    });
    missing.map(|word| format!("docs/cli.md lacks `{word}`")).collect()
}

/// The configuration and its parts, one after the other.
fn configuration() -> String {
    read("engine/server/src/config.rs") + &read("engine/server/src/config/sources.rs")
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let source = configuration();
    none(&missing_keys(&source, &read("docs/configuration.md")));
}

#[test]
fn every_subcommand_and_option_is_documented() {
    none(&missing_words(&read("engine/server/src/cli.rs"), &read("docs/cli.md")));
}

#[test]
fn a_key_or_option_that_is_not_documented_is_found() {
    let page = read("docs/configuration.md");
    let source = configuration();
    let more = source
        .replace("    pub(crate) listen:", "    pub(crate) colour: u8,\n    pub(crate) listen:");
    assert_eq!(missing_keys(&more, &page), ["docs/configuration.md lacks `colour`"]);
    assert!(missing_keys(&source, "").len() > 15);
    let page = read("docs/cli.md");
    let source = read("engine/server/src/cli.rs");
    let more = source.replace("    /// Run the service.", "    /// New.\n    Dance,\n    /// Run.");
    assert_eq!(missing_words(&more, &page), ["docs/cli.md lacks `untoil dance`"]);
    let more = source.replace("    pub(crate) keep: bool", "    pub(crate) keep_it: bool");
    assert_eq!(missing_words(&more, &page), ["docs/cli.md lacks `--keep-it`"]);
}
