//! The ports over the AWS SDK; the only crate that names it.
