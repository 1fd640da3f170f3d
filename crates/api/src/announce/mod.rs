//! Announcements: outbox of the hub → one POST each → the receiver's webhook.
//!
//! One task a receiver, one request at a time. What is not answered with 2xx
//! is tried again later; a restart goes on where it was. Nothing of an answer
//! but its status and `Retry-After` is read.

pub(crate) mod message;
pub(crate) mod post;

use std::sync::Arc;
use std::time::Duration;

use palisade_hub::{Hub, Outbox};
use tokio_util::sync::CancellationToken;

use crate::auth::now;
use crate::config::Config;
use message::Message;
use post::Sender;

/// Sends the announcements to one receiver.
pub(crate) struct Announcer {
    outbox: Outbox,
    sender: Arc<Sender>,
    /// The address of the page, for links.
    page: Option<String>,
}

/// One for each webhook of the settings.
///
/// # Errors
/// One sentence: a secret file cannot be read.
pub(crate) fn announcers(hub: &Hub, config: &Config) -> Result<Vec<Announcer>, String> {
    let page = config.public_url.as_deref();
    let page = page.map(|url| format!("{}{}", url.trim_end_matches('/'), config.base_path));
    let announcer = |outbox: Outbox| {
        let sender = Arc::new(Sender::new(outbox.hook())?);
        Ok(Announcer { outbox, sender, page: page.clone() })
    };
    hub.outboxes().into_iter().map(announcer).collect()
}

impl Announcer {
    /// Runs until it is cancelled. A request that is under way then is not
    /// waited for: the announcement is made once more.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let stopped = cancel.cancelled();
        tokio::select! {
            () = stopped => {}
            () = self.send() => {}
        }
    }

    async fn send(&self) {
        let hook = &self.outbox.hook().name;
        loop {
            let announcement = match self.outbox.take(now()).await {
                Ok(Some(announcement)) => announcement,
                Ok(None) => {
                    self.outbox.changed().await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%hook, %error, "cannot look for announcements");
                    self.outbox.changed().await;
                    continue;
                }
            };
            let message =
                Message::new(&announcement, self.outbox.hook().kind, self.page.as_deref(), now());
            let (cve, attempt) = (&announcement.cve.cve, announcement.attempt);
            let ended = match self.post(message).await {
                Ok(()) => {
                    tracing::info!(%hook, %cve, attempt, "announced");
                    self.outbox.heard(&announcement).await
                }
                Err(refusal) => {
                    let post::Refusal { reason, wait } = refusal;
                    tracing::warn!(%hook, %cve, attempt, %reason, "not announced; it is tried again");
                    self.outbox.failed(&announcement, wait, now()).await
                }
            };
            if let Err(error) = ended {
                tracing::warn!(%hook, %cve, %error, "it may be announced once more");
            }
        }
    }

    /// On a thread of its own, which the end of the process does not wait for.
    async fn post(&self, message: Message) -> Result<(), post::Refusal> {
        let (done, answer) = tokio::sync::oneshot::channel();
        let sender = Arc::clone(&self.sender);
        let thread = std::thread::Builder::new().name("announce".to_owned());
        let begun = thread.spawn(move || {
            // Nobody waits where the hub is stopping.
            let _ = done.send(sender.send(&message));
        });
        let lost = |reason: String| post::Refusal { reason, wait: None };
        begun.map_err(|error| lost(error.to_string()))?;
        let answer = tokio::time::timeout(post::LONGEST + Duration::from_secs(1), answer).await;
        match answer {
            Ok(Ok(sent)) => sent,
            Ok(Err(_)) => Err(lost("sending broke off".to_owned())),
            Err(_) => Err(lost("no answer in time".to_owned())),
        }
    }
}
