//! (being written)

use async_trait::async_trait;
use untoil_guard::Clearance;
use untoil_model::{Class, Reason, Step};

use crate::{
    Action, Ask, Bounds, CallError, Eyes, Following, Found, Hands, Need, Order, ReadError, Repeat,
    Spec,
};

/// `http.request`.
#[derive(Debug, Clone)]
pub struct Request {
    hosts: Vec<String>,
}

impl Request {
    /// With the hosts it may talk to.
    pub fn new(hosts: Vec<String>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Action for Request {
    fn spec(&self) -> &'static Spec {
        const {
            &Spec {
                kind: "http.request",
                summary: "",
                params: &[],
                bounds: &[],
                repeat: Repeat::Never,
                examples: &[],
            }
        }
    }
    fn check_bounds(&self, _bounds: &Bounds) -> Result<(), String> {
        Ok(())
    }
    fn resolve(&self, _ask: &Ask<'_>) -> Result<Step, Reason> {
        Err(Reason::Other { code: "being_written".into(), detail: String::new() })
    }
    fn needs(&self, _bounds: &Bounds) -> Vec<Need> {
        Vec::new()
    }
    async fn call(
        &self,
        _hands: &Hands,
        _may: Clearance,
        _order: &Order<'_>,
    ) -> Result<String, CallError> {
        Err(CallError::NotSent { why: "being written".into() })
    }
    async fn follow(
        &self,
        _eyes: &Eyes,
        _order: &Order<'_>,
        _handle: &str,
    ) -> Result<Following, ReadError> {
        Err(ReadError::Unavailable { why: "being written".into() })
    }
    async fn find(&self, _eyes: &Eyes, _order: &Order<'_>) -> Result<Found, ReadError> {
        Ok(Found::NotSeen)
    }
    fn class(&self) -> Class {
        Class::C
    }
}
