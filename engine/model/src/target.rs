//! What is acted on: `ec2/i-0a1b2c3d`, `ecs/workers/contact-sync`, `asg/web`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// A target's canonical name. Limits and locks are keyed on it, so there is one spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Target(Arc<str>);

/// A text that is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a target: {why}")]
pub struct TargetError {
    text: String,
    why: &'static str,
}

impl Target {
    /// The kind, the part before the first `/`: `ec2`, `ecs`, `asg`, …
    pub fn kind(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The part after the first `/`.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parent that the name itself tells: a task's service has none here, a service's is its cluster.
    ///
    /// Parents that only AWS knows (an instance's Auto Scaling group) come from facts.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = |why| TargetError { text: text.chars().take(80).collect(), why };
        if text.len() > 300 {
            return Err(wrong("it is longer than 300 bytes"));
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
            return Err(wrong("write `kind/name`, such as `ec2/i-0a1b2c3d4e5f67890`"));
        }
        if text.chars().any(|c| c == '*' || c == '?' || c.is_control() || c.is_whitespace()) {
            return Err(wrong("wildcards, spaces and control characters are never a target"));
        }
        let instance = |name: &str| {
            let id = name.strip_prefix("i-").or_else(|| name.strip_prefix("mi-")).unwrap_or("");
            matches!(id.len(), 8 | 17) && id.bytes().all(|b| b.is_ascii_hexdigit())
        };
        match (parts[0], parts.len()) {
            ("ec2", 2) if instance(parts[1]) => {}
            ("ec2", _) => return Err(wrong("an instance is `ec2/i-` and 8 or 17 hex digits")),
            ("ecs", 3) => {}
            ("ecs", _) => return Err(wrong("a service is `ecs/cluster/service`")),
            ("asg", 2) => {}
            ("asg", _) => return Err(wrong("a group is `asg/name`")),
            _ => {}
        }
        if !parts[0].bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(wrong("its kind is lower case"));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;
    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.as_str().to_owned()
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_one_spelling() {
        for text in
            ["ec2/i-0a1b2c3d", "ec2/i-0a1b2c3d4e5f67890", "ecs/workers/contact-sync", "asg/web"]
        {
            assert_eq!(text.parse::<Target>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn wide_or_broken_targets_are_refused() {
        for text in [
            "",
            "ec2",
            "ec2/",
            "ec2/*",
            "ec2/i-xyz",
            "ecs/workers",
            "ecs/a/b/c",
            "asg/a b",
            "EC2/i-0a1b2c3d",
            "ec2/i-0a1b2c3d/x",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
