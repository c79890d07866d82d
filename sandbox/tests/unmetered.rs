//! This program does not install the meter.

use std::sync::Arc;

use untoil_actions::Catalogue;
use untoil_sandbox::{Sandbox, StartError};

#[test]
fn without_the_meter_the_sandbox_refuses_to_start() {
    let outcome = Sandbox::start(Arc::new(Catalogue::standard(vec![])), 1);
    assert!(matches!(outcome, Err(StartError::Unmetered)));
}
