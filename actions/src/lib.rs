//! The action catalogue and the ports it goes through.
//!
//! An [`Action`] owns every fact about a kind of thing to do: its schema and bounds, its class, its
//! IAM needs, how it is called, followed and found again after a crash, and its examples. The ports
//! come in two kinds: [`Eyes`] read, and [`Hands`] write. A dry run has no hands; and each method of
//! the hands consumes a [`untoil_guard::Clearance`], which only the guard makes.

#![forbid(unsafe_code)]

mod action;
mod args;
mod asg;
mod catalogue;
mod ecs;
mod facts;
mod http;
mod marker;
mod ports;
mod sizing;
mod slack;
mod ssm;

pub use action::{
    Action, Ask, Bounds, Example, Following, Found, Missing, Need, Order, Param, ParamKind,
    Proposal, Repeat, Spec,
};
pub use catalogue::Catalogue;
pub use facts::{FactKind, FactRequest};
pub use ports::{
    AlarmLook, AsgReads, AsgWrites, Automation, CallError, ChatWrites, Command, CommandState,
    Deployment, EcsReads, EcsWrites, Eyes, Group, GroupInstance, Hands, HttpReply, HttpRequest,
    HttpWrites, ManagedInstance, MetricQuery, MetricReads, ReadError, SendCommand, Service,
    SsmReads, SsmWrites, StartAutomation, Task,
};
