//! The journal on a database; the only crate that names the database client.
