//! Ways to break the engine on purpose, to see that the checks find it.

use untoil_journal::Batch;
use untoil_model::Body;

/// One broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Entries are taken from whoever does not hold the incident any more.
    IgnoresHolding,
    /// Conditions on streams are not looked at.
    IgnoresExpects,
    /// An instance that is not heard of goes on acting.
    EndlessTenure,
    /// Some deliveries are answered for and not kept.
    ForgetsDeliveries,
    /// The intent comes after the call.
    CallsFirst,
    /// What is only written is taken for kept.
    TrustsMemory,
    /// The chat says that it took a message, and did not.
    LosesWords,
    /// A call takes effect twice.
    CallsTwice,
    /// Whatever a rule's mode is, it acts.
    ActsInShadow,
    /// That a rule has changed while it was asked is not noticed.
    MixesTexts,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::IgnoresHolding,
        Self::IgnoresExpects,
        Self::EndlessTenure,
        Self::ForgetsDeliveries,
        Self::CallsFirst,
        Self::TrustsMemory,
        Self::LosesWords,
        Self::CallsTwice,
        Self::ActsInShadow,
        Self::MixesTexts,
    ];

    /// Breaks what is written.
    pub(crate) fn change(self, batch: &mut Batch) {
        match self {
            Self::IgnoresHolding => batch.holding.clear(),
            Self::IgnoresExpects => batch.expects.clear(),
            Self::CallsFirst => {
                batch.drafts.retain(|draft| !matches!(draft.body, Body::Started { .. }));
            }
            Self::EndlessTenure
            | Self::ForgetsDeliveries
            | Self::TrustsMemory
            | Self::LosesWords
            | Self::CallsTwice
            | Self::ActsInShadow
            | Self::MixesTexts => {}
        }
    }
}
