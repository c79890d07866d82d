//! Text with its formatting as data: rendered as Slack's mrkdwn or plainly, and safe in both.

use unicode_segmentation::UnicodeSegmentation as _;

use crate::escape::{clean, clean_lines, cut, push_escaped, units};

/// A piece of a [`Text`]. Whatever is put in was cleaned; only [`Span::Mention`] can notify.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Span {
    Words(String),
    Bold(String),
    Code(String),
    Fence(String),
    Break,
    Mention { name: String, markup: Option<String> },
}

/// A paragraph for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(Vec<Span>);

/// A person or group of the configuration, as Slack's markup names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention(String);

impl Mention {
    /// The mention of a Slack id: `U…`/`W…` a person, `S…` a group, or `here`, `channel`, `everyone`.
    ///
    /// # Errors
    /// When it is none of these; names of people and groups are not ids.
    pub fn parse(id: &str) -> Result<Self, String> {
        if matches!(id, "here" | "channel" | "everyone") {
            return Ok(Self(format!("<!{id}>")));
        }
        let known = id.len() >= 2
            && id.len() <= 30
            && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        match id.as_bytes().first() {
            Some(b'U' | b'W') if known => Ok(Self(format!("<@{id}>"))),
            Some(b'S') if known => Ok(Self(format!("<!subteam^{id}>"))),
            _ => Err(format!(
                "`{}` is not a Slack id: use `U…` for a person, `S…` for a group, or `here`",
                cut(&clean(id), 40)
            )),
        }
    }
}

impl Text {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Plain words.
    #[must_use]
    pub fn words(self, text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let cleaned = clean(text);
        // The spaces at the ends join this piece with its neighbours.
        let front = if text.starts_with(' ') { " " } else { "" };
        let back = if text.ends_with(' ') && !cleaned.is_empty() { " " } else { "" };
        self.with(Span::Words(format!("{front}{cleaned}{back}")))
    }

    /// Words that stand out.
    #[must_use]
    pub fn bold(self, text: impl AsRef<str>) -> Self {
        self.with(Span::Bold(clean(text.as_ref())))
    }

    /// Something to copy: a name, a command.
    #[must_use]
    pub fn code(self, text: impl AsRef<str>) -> Self {
        self.with(Span::Code(clean(text.as_ref())))
    }

    /// Lines as they were written.
    #[must_use]
    pub fn fence(self, text: impl AsRef<str>) -> Self {
        self.with(Span::Fence(clean_lines(text.as_ref()).trim().to_owned()))
    }

    /// A new line.
    #[must_use]
    pub fn line(self) -> Self {
        self.with(Span::Break)
    }

    /// A call for a person or group; without an id it is only the name.
    #[must_use]
    pub fn mention(self, name: &str, id: Option<&Mention>) -> Self {
        let markup = id.map(|id| id.0.clone());
        self.with(Span::Mention { name: clean(name), markup })
    }

    /// This and then another.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn with(mut self, span: Span) -> Self {
        self.0.push(span);
        self
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it calls somebody.
    #[must_use]
    pub fn has_mention(&self) -> bool {
        self.0.iter().any(|span| matches!(span, Span::Mention { .. }))
    }

    /// Without any formatting, for terminals. Not escaped.
    #[must_use]
    pub fn plain(&self) -> String {
        let mut out = String::new();
        for span in &self.0 {
            match span {
                Span::Words(text) | Span::Bold(text) => out.push_str(text),
                Span::Code(text) => {
                    out.push('`');
                    out.push_str(text);
                    out.push('`');
                }
                Span::Fence(text) => {
                    out.push('\n');
                    out.push_str(text);
                }
                Span::Break => out.push('\n'),
                Span::Mention { name, .. } => {
                    out.push('@');
                    out.push_str(name);
                }
            }
        }
        out
    }

    /// As mrkdwn of at most `max` UTF-16 units, every style that was begun also ended.
    #[must_use]
    pub fn mrkdwn(&self, max: usize) -> String {
        let mut pen = Pen { out: String::new(), left: max.saturating_sub(1), over: false };
        for span in &self.0 {
            match span {
                Span::Words(text) => pen.write("", text, ""),
                // An asterisk inside would end the style in the middle.
                Span::Bold(text) => pen.write("*", &text.replace('*', "∗"), "*"),
                Span::Code(text) => pen.write("`", text, "`"),
                Span::Fence(text) => pen.write("```\n", text, "\n```"),
                Span::Break => pen.write("", "\n", ""),
                Span::Mention { markup: Some(markup), .. } => pen.whole(markup),
                Span::Mention { name, markup: None } => pen.write("", name, ""),
            }
            if pen.over {
                break;
            }
        }
        pen.out
    }
}

/// Writes within a budget that keeps one unit for the `…` of a cut.
struct Pen {
    out: String,
    left: usize,
    over: bool,
}

impl Pen {
    fn write(&mut self, open: &str, text: &str, close: &str) {
        let styles = units(open) + units(close);
        if text.is_empty() {
            return;
        }
        if styles >= self.left {
            return self.end();
        }
        self.left -= styles;
        self.out.push_str(open);
        let mut escaped = String::new();
        for grapheme in text.graphemes(true) {
            escaped.clear();
            push_escaped(&mut escaped, grapheme);
            let n = units(&escaped);
            if n > self.left {
                self.end();
                break;
            }
            self.left -= n;
            self.out.push_str(&escaped);
        }
        self.out.push_str(close);
    }

    fn whole(&mut self, markup: &str) {
        let n = units(markup);
        if n > self.left {
            return self.end();
        }
        self.left -= n;
        self.out.push_str(markup);
    }

    fn end(&mut self) {
        if !self.over {
            self.over = true;
            self.out.push('…');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatting_is_ours_and_text_is_escaped() {
        let group = Mention::parse("S0123").unwrap();
        let text = Text::new()
            .bold("a*b & <c>")
            .words(" then ")
            .code("x`y")
            .line()
            .mention("platform", Some(&group))
            .words(" <!here> ")
            .mention("nobody", None);
        assert_eq!(text.mrkdwn(500), "*a∗b &amp; &lt;c&gt;* then `x'y`\n<!subteam^S0123> nobody");
        assert_eq!(text.plain(), "a*b & <c> then `x'y`\n@platform @nobody");
    }

    #[test]
    fn a_cut_ends_the_fence_it_is_in() {
        let text = Text::new().fence("line one\nline two\nline three");
        assert_eq!(text.mrkdwn(24), "```\nline one\nline t…\n```");
    }

    #[test]
    fn only_ids_become_mentions() {
        for id in ["U024BE7LH", "W12", "S0614TZR7", "here"] {
            assert!(Mention::parse(id).is_ok(), "{id}");
        }
        for id in ["", "U", "kim", "@kim", "U1>", "C024BE7LH", "u024"] {
            assert!(Mention::parse(id).is_err(), "{id}");
        }
    }
}
