//! A fixed SSM document and the ways it ends.

use std::fmt::Write as _;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use crate::Parameter;

/// What leads the first line of a document's output; JSON follows.
pub const RESULT_MARK: &str = "UNTOIL_RESULT ";

/// A fixed SSM Command document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document {
    /// Its name in SSM.
    pub name: &'static str,
    /// Its version in SSM, a number: what `SendCommand` pins.
    pub version: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Whether it may change something on the host. With `Mode=dry` none does.
    pub writes: bool,
    /// The document as it is uploaded, byte for byte.
    pub content: &'static str,
    /// Its parameters, those of the engine first.
    pub parameters: &'static [Parameter],
    /// All the ways it ends, by `code`.
    pub endings: &'static [Ending],
    /// Its script without the prelude, in order.
    pub(crate) scripts: &'static [&'static str],
}

/// One way in which a document ends: the `code` of its result line and its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The result's `code`.
    pub code: &'static str,
    /// The script's exit status. SSM calls 0 `Success` and all others `Failed`.
    pub status: u8,
    /// The result's `ok`; `already_done` repeats that of the first time.
    pub ok: bool,
    /// What it means, in one sentence.
    pub means: &'static str,
}

/// SHA-256 in lower-case hexadecimal.
fn digest(content: &str) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(content.as_bytes()) {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

impl Document {
    /// SHA-256 of [`Document::content`] in lower-case hexadecimal: what `SendCommand` pins.
    #[must_use]
    pub fn sha256(&self) -> String {
        static SHIPPED: OnceLock<Vec<(&'static str, String)>> = OnceLock::new();
        let hashed = |document: &Self| (document.content, digest(document.content));
        let shipped = SHIPPED.get_or_init(|| crate::documents().iter().map(hashed).collect());
        // Comparing texts costs a hundredth of hashing one. Their places tell nothing: the compiler may
        // keep a text of the program in several.
        let known = shipped.iter().find(|(content, _)| *content == self.content);
        known.map_or_else(|| digest(self.content), |(_, hash)| hash.clone())
    }

    /// The parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// The ending with that code.
    #[must_use]
    pub fn ending(&self, code: &str) -> Option<&'static Ending> {
        self.endings.iter().find(|ending| ending.code == code)
    }
}
