//! [`Target`]: whom an alarm tells, and how.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::message::Message;
use super::outbox::Outcome;
use super::{command, hook, slack};
use crate::config::alert::{HookUrl, Notify};
use crate::config::words::Name;
use crate::config::{Named, Service, bytes_of, path_of};
use crate::tls::TlsError;
use crate::tls::client::Roots;

/// A `[notify.NAME]`, ready to be used.
#[derive(Clone)]
pub(crate) struct Target {
    pub(super) name: Arc<str>,
    way: Way,
    timeout: Duration,
}

#[derive(Clone)]
enum Way {
    Slack(hook::Hook),
    Webhook(hook::Hook),
    Command(Vec<String>),
    /// Why there is none.
    None(String),
    #[cfg(test)]
    Injected(Arc<dyn Fn(&Message) -> Outcome + Send + Sync>),
}

/// Addresses and tokens are secrets.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.name, self.form())
    }
}

impl Target {
    pub(super) fn of(named: &Named<Name, Notify>, config: &Service) -> Self {
        // What is wrong is told each time somebody should have been.
        let way = way(&named.body, config).unwrap_or_else(|error| {
            tracing::error!(notify = %named.name.value, %error, "alarms cannot be sent");
            Way::None(error.to_string())
        });
        Self { name: named.name.value.clone().into(), way, timeout: named.body.timeout.to_std() }
    }

    #[cfg(test)]
    pub(super) fn injected(
        name: &str,
        deliver: impl Fn(&Message) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), way: Way::Injected(Arc::new(deliver)), timeout: Duration::from_secs(10) }
    }

    pub(super) fn form(&self) -> &'static str {
        match self.way {
            Way::Slack(_) => "slack",
            Way::Webhook(_) => "webhook",
            Way::Command(_) => "command",
            Way::None(_) => "nothing",
            #[cfg(test)]
            Way::Injected(_) => "injected",
        }
    }

    /// One try.
    pub(super) async fn deliver(&self, message: &Message) -> Outcome {
        let tried = async {
            match &self.way {
                Way::Slack(hook) => hook.post(&slack::body(message)).await,
                Way::Webhook(hook) => hook.post(&message.document()).await,
                Way::Command(command) => command::run(command, message).await,
                Way::None(why) => Outcome::Refused(why.clone()),
                #[cfg(test)]
                Way::Injected(deliver) => deliver(message),
            }
        };
        let late = || Outcome::Failed(format!("not done within {} s", self.timeout.as_secs_f64()), None);
        tokio::time::timeout(self.timeout, tried).await.unwrap_or_else(|_| late())
    }
}

fn way(notify: &Notify, config: &Service) -> Result<Way, TlsError> {
    let hook = |url: &HookUrl, token| hook::Hook::new(url, token, || roots(notify, config));
    if let Some(url) = &notify.slack {
        return Ok(Way::Slack(hook(url, None)?));
    }
    if let Some(url) = &notify.webhook {
        return Ok(Way::Webhook(hook(url, notify.token.as_ref().map(|token| &*token.value))?));
    }
    let command = notify.command.iter().flat_map(|command| command.iter());
    Ok(Way::Command(command.map(|word| word.value.to_string()).collect()))
}

fn roots(notify: &Notify, config: &Service) -> Roots {
    Roots::of(path_of(&notify.ca), |path| bytes_of(&config.files, path))
}
