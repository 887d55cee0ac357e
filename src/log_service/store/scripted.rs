//! A store that does what a test says, in the runtime of the test and so on its clock.

use tokio::sync::mpsc;

use super::{AppendError, Appended, Cargo, Message, Store};
use crate::log_service::entry::Entry;

impl Store {
    /// The same, but `answer` says what becomes of what is appended; of frames it sees no entries.
    pub(crate) fn scripted(
        &self,
        mut answer: impl FnMut(&[Entry]) -> Result<(), AppendError> + Send + 'static,
    ) -> Self {
        let (sender, mut receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(Message::Append(batch)) = receiver.recv().await {
                let answered = match &batch.cargo {
                    Cargo::Entries(entries) => answer(entries),
                    Cargo::Frames(_) => answer(&[]),
                };
                let appended = Appended { accepted: batch.count, duplicates: 0 };
                let _ = batch.reply.send(answered.map(|()| appended));
            }
        });
        Self { sender, ..self.clone() }
    }
}
