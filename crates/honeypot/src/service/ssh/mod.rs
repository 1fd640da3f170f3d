//! An SSH server after OpenSSH: its version, algorithms and answers; every
//! login is recorded, some are let in. The protocol itself
//! ([`transport`], [`auth`]) does no I/O; this file
//! brings it together with the client's connection.

pub mod auth;
pub mod channel;
mod cipher;
mod desk;
pub mod hostkey;
pub mod kex;
mod mac;
mod message;
mod packet;
mod policy;
pub(crate) mod profile;
mod program;
mod scp;
pub mod sftp;
pub mod transport;
mod umac;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use palisade_event::{Credentials, Event, EventKind, Fingerprints, Outcome, Untrusted};

use self::auth::{Attempt, Login, Offered, Proof};
use self::hostkey::{HostKeys, KeyError};
use self::kex::Offer;
use self::policy::Policy;
use self::profile::{PROFILES, Profile};
use self::program::Programs;
use self::transport::{Chosen, End, Incoming, Server, Transport};
use crate::{Closed, Session, SshConfig, SshKeys, Stream, System};

/// Most bytes of one read.
const READ_BYTES: usize = 4_096;
/// Longest version line that is recorded, in bytes.
const MAX_VERSION_BYTES: usize = 1_024;

/// The SSH service.
#[derive(Debug)]
pub(crate) struct Ssh {
    config: SshConfig,
    server: Arc<Server>,
    policy: Policy,
}

/// Why a visit is over.
enum Over {
    /// The protocol ended; its last words are in the output.
    Protocol(End),
    /// The connection ended.
    Stream(Closed),
}

impl From<Closed> for Over {
    fn from(closed: Closed) -> Self {
        Self::Stream(closed)
    }
}

impl From<End> for Over {
    fn from(end: End) -> Self {
        Self::Protocol(end)
    }
}

/// One client's connection.
struct Visit<'a> {
    ssh: &'a Ssh,
    session: &'a mut Session,
    stream: &'a mut Stream,
    transport: Transport,
    // Until the client is in.
    login: Option<Login>,
    user: Box<[u8]>,
    programs: Box<Programs>,
    client: Option<Untrusted>,
    hassh: Option<Box<str>>,
}

impl Ssh {
    /// Reads the host keys or makes them; see [`HostKeys::load_or_make`].
    pub(crate) fn new(
        config: SshConfig,
        seed: Option<u64>,
        system: System,
    ) -> Result<Self, KeyError> {
        let keys = HostKeys::load_or_make(config.host_keys.as_deref())?;
        let [debian, ubuntu] = &PROFILES;
        let drawn = if system == System::Ubuntu { ubuntu } else { debian };
        let profile = config.server.as_deref().and_then(Profile::named).unwrap_or(drawn);
        let server = Arc::new(Server::new(profile, config.version.as_deref(), keys));
        let policy = Policy::new(config.accept.clone(), seed);
        Ok(Self { config, server, policy })
    }

    pub(crate) async fn serve(
        &self,
        session: &mut Session,
        stream: &mut Stream,
    ) -> Result<(), Closed> {
        let mut visit = Visit {
            ssh: self,
            session,
            stream,
            transport: Transport::new(Arc::clone(&self.server)),
            login: Some(Login::default()),
            user: Box::default(),
            programs: Box::default(),
            client: None,
            hassh: None,
        };
        let over = visit.hold().await;
        visit.record_rest().await?;
        match over {
            Over::Stream(closed) => Err(closed),
            Over::Protocol(end) => {
                visit.flush().await?;
                match end {
                    End::Disconnected(_) => Err(Closed::ClientClosed),
                    End::Fault(text) => {
                        visit.session.note("fault", Untrusted::from(text.as_bytes()));
                        Ok(())
                    }
                }
            }
        }
    }
}

impl Visit<'_> {
    async fn hold(&mut self) -> Over {
        let grace = Duration::from_secs(self.ssh.config.grace_secs);
        self.stream.set_step(Some(grace));
        loop {
            let turn = self.turn().await;
            if let Err(over) = turn {
                return over;
            }
        }
    }

    /// Takes all that came, answers it, and waits for more.
    async fn turn(&mut self) -> Result<(), Over> {
        while let Some(incoming) = self.transport.poll()? {
            self.take(incoming).await?;
        }
        self.flush().await?;
        self.session.tell_recording().await?;
        self.stream.wake_at(self.session.recording_due());
        self.stream.read(self.transport.inbox(), READ_BYTES).await?;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        let out = self.transport.take_output();
        self.stream.write(&out).await
    }

    async fn take(&mut self, incoming: Incoming) -> Result<(), Over> {
        match incoming {
            Incoming::Version(mut line) => {
                line.truncate(MAX_VERSION_BYTES);
                self.client = Some(Untrusted::new(line));
            }
            Incoming::Offer(offer) => self.identified(&offer).await?,
            Incoming::Secured(chosen) => self.secured(chosen),
            Incoming::Message(message) => {
                let offered = self.offered();
                if let Some(login) = &mut self.login {
                    if let Some(attempt) = login.take(&message, &mut self.transport, offered)? {
                        self.attempt(attempt).await?;
                    }
                } else if let Some(asked) =
                    self.programs.channels.take(&message, &mut self.transport)?
                {
                    self.asked(asked).await?;
                }
            }
        }
        Ok(())
    }

    fn offered(&self) -> Offered {
        let config = &self.ssh.config;
        Offered { interactive: config.keyboard_interactive, attempts: config.attempts }
    }

    /// An event with what is known of the client's software.
    fn event(&mut self, kind: EventKind) -> Event {
        let mut event = self.session.event(kind);
        event.client.clone_from(&self.client);
        if let Some(hassh) = &self.hassh {
            let prints = Fingerprints { hassh: Some(hassh.clone()), ..Fingerprints::default() };
            event.fingerprints = Some(Box::new(prints));
        }
        event
    }

    async fn identified(&mut self, offer: &Offer) -> Result<(), Closed> {
        self.hassh = Some(offer.hassh().into());
        let mut event = self.event(EventKind::ClientIdentified);
        for (name, list) in offer.named_lists() {
            event = event.with(name, Untrusted::from(list));
        }
        self.session.emit(event).await
    }

    fn secured(&mut self, chosen: Chosen) {
        for (name, value) in [
            ("kex", chosen.kex),
            ("host_key", chosen.host_key),
            ("cipher", chosen.cipher),
            ("mac", chosen.mac),
            ("compression", chosen.compression),
        ] {
            self.session.note(name, value);
        }
    }

    /// Decides about a try, records it and answers.
    async fn attempt(&mut self, attempt: Attempt) -> Result<(), Over> {
        let Attempt { user, proof } = attempt;
        let address = self.session.peer().address;
        let keys = self.ssh.config.keys;
        let (method, password, accepted, key) = match proof {
            Proof::Password(password) => {
                let accepted = self.ssh.policy.lets_in(&user, &password, address);
                ("password", Some(password), accepted, None)
            }
            Proof::Interactive(password) => {
                let accepted = self.ssh.policy.lets_in(&user, &password, address);
                ("keyboard-interactive", Some(password), accepted, None)
            }
            Proof::Key(key) if keys == SshKeys::Always && key.signed.is_none() => {
                // It signs next; that is the try.
                if let Some(login) = &self.login {
                    login.allow_key(&key, &mut self.transport);
                }
                return Ok(());
            }
            Proof::Key(key) => {
                let accepted = keys == SshKeys::Always && key.signed == Some(true);
                ("publickey", None, accepted, Some(key))
            }
        };
        let mut event = self.event(EventKind::AuthAttempted).with("method", method);
        event.credentials = Some(Credentials {
            username: Some(Untrusted::from(user.as_slice())),
            password: password.map(Untrusted::new),
            outcome: Some(if accepted { Outcome::Accepted } else { Outcome::Failed }),
        });
        let by_password = key.is_none();
        if let Some(key) = key {
            event = event.with("key_type", key.kind.as_str());
            event = event.with("key_fingerprint", key.fingerprint.as_str());
        }
        self.session.emit(event).await?;
        if accepted {
            if let Some(login) = self.login.take() {
                login.accept(&mut self.transport);
            }
            self.user = user.into();
            self.stream.set_step(None);
            return Ok(());
        }
        if by_password {
            self.flush().await?;
            self.stream.pause(self.delay()).await?;
        }
        let offered = self.offered();
        if let Some(login) = &mut self.login {
            login.refuse(&mut self.transport, offered)?;
        }
        Ok(())
    }

    /// How long a wrong password takes: PAM's delay, never quite the same.
    fn delay(&self) -> Duration {
        let config = &self.ssh.config;
        let jitter = match config.fail_jitter_ms {
            0 => 0,
            most => rand::random::<u64>() % (most + 1),
        };
        Duration::from_millis(config.fail_delay_ms + jitter)
    }
}
