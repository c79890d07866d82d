//! (being written)

use async_trait::async_trait;
use untoil_guard::Clearance;
use untoil_model::{Class, Reason, Step};

use crate::{
    Action, Ask, Bounds, CallError, Eyes, Following, Found, Hands, Need, Order, ReadError, Repeat,
    Spec,
};

/// `ssm.document`.
#[derive(Debug, Clone, Copy)]
pub struct Document;

#[async_trait]
impl Action for Document {
    fn spec(&self) -> &'static Spec {
        const {
            &Spec {
                kind: "ssm.document",
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
        Class::B
    }
}

/// `ssm.automation`.
#[derive(Debug, Clone, Copy)]
pub struct Automate;

#[async_trait]
impl Action for Automate {
    fn spec(&self) -> &'static Spec {
        const {
            &Spec {
                kind: "ssm.automation",
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
