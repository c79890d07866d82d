//! A journal of which nothing but receiving is asked.

use async_trait::async_trait;
use tokio::sync::watch;
use untoil_journal::{AppendError, Batch, Journal, JournalError, Put, RawEntry, Receipt};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};

/// What becomes of a delivery.
#[async_trait]
pub(crate) trait Receives: Send + Sync + std::fmt::Debug {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError>;
}

/// The journal that does so. Whoever asks anything else of it fails the test.
#[derive(Debug)]
pub(crate) struct OnlyReceives<R>(pub(crate) R);

const ONLY_RECEIVES: &str = "whoever is tested here only receives";

#[async_trait]
impl<R: Receives> Journal for OnlyReceives<R> {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        self.0.receive(delivery).await
    }
    async fn append(&self, _: Batch) -> Result<Vec<Entry>, AppendError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn read(&self, _: &Stream, _: Seq, _: usize) -> Result<Vec<Entry>, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn latest(&self, _: &Stream, _: usize) -> Result<Vec<Entry>, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn raw(&self, _: Seq, _: usize) -> Result<Vec<RawEntry>, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn pending(&self, _: usize) -> Result<Vec<DeliveryId>, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn delivery(&self, _: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn open_incidents(
        &self,
        _: Option<&IncidentId>,
        _: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn incidents(
        &self,
        _: Option<&IncidentId>,
        _: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn cursor(&self, _: &str) -> Result<Seq, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn advance(&self, _: &str, _: Seq, _: Vec<Put>) -> Result<(), JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    async fn memo(&self, _: &str, _: &str) -> Result<Option<String>, JournalError> {
        unreachable!("{ONLY_RECEIVES}")
    }
    fn head(&self) -> watch::Receiver<Seq> {
        unreachable!("{ONLY_RECEIVES}")
    }
}
