//! (being written)

use async_trait::async_trait;
use untoil_guard::Clearance;
use untoil_model::{Class, Reason, Step};

use crate::{
    Action, Ask, Bounds, CallError, Eyes, Following, Found, Hands, Need, Order, ReadError, Repeat,
    Spec,
};

/// `asg.set_desired`.
#[derive(Debug, Clone, Copy)]
pub struct SetDesired;

#[async_trait]
impl Action for SetDesired {
    fn spec(&self) -> &'static Spec {
        const {
            &Spec {
                kind: "asg.set_desired",
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

/// `asg.replace_instance`.
#[derive(Debug, Clone, Copy)]
pub struct ReplaceInstance;

#[async_trait]
impl Action for ReplaceInstance {
    fn spec(&self) -> &'static Spec {
        const {
            &Spec {
                kind: "asg.replace_instance",
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
