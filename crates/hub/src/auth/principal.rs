//! Who asks: the result of checking a credential, never made from a payload.

use palisade_event::{Domain, SensorId};
use palisade_store::state::{Role, Scope};

/// Who asks: made by [`crate::Hub::sign_in`], [`crate::Hub::session`],
/// [`crate::Hub::key`], [`crate::Hub::ews_user`], [`Principal::local`],
/// [`Principal::publisher`] or [`Principal::public`]; there is no other way to
/// get one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(pub(super) Identity);

/// What kind of credential it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// This machine's operator or the agent in this process.
    Local { sensor: Option<SensorId> },
    /// A person.
    Account { name: String, role: Role },
    /// A publisher that the settings name: an ident of our hpfeeds broker, or a
    /// broker elsewhere that we listen to.
    Publisher { sensor: SensorId, domain: Domain },
    /// A program.
    Key { id: String, sensor: SensorId, scopes: Vec<Scope>, domain: Domain },
    /// A user of the EWS dialect: an installation of honeypots, or who reads
    /// what they deliver.
    Ews { name: SensorId, domain: Domain, read_only: bool, community_only: bool },
    /// A stranger, where the operator has opened the data of the community.
    Public,
}

/// What a principal may do.
///
/// Accounts: a viewer may read, an operator also operate, an admin also
/// administer; none of them delivers events, as a person is no sensor.
/// Keys: the scope `ingest` delivers, `read` reads, `admin` reads, operates
/// and administers; `decisions` and `ingest` hear of decisions, `bouncer` in
/// the dialect of CrowdSec's bouncers, `glimpse` tells of machines in Glimpse's. EWS users deliver (unless read-only) and read. A publisher
/// delivers. The public reads. The local operator may do all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Deliver events.
    Ingest,
    /// See events of its domain(s), sensors, aggregates.
    Read,
    /// See quarantine, act on hosts.
    Operate,
    /// Manage accounts and keys.
    Administer,
    /// Hear of decisions, to carry them out.
    Decisions,
    /// The same as a bouncer of CrowdSec.
    Bouncer,
    /// Tell of machines in Glimpse's dialect.
    Glimpse,
}

impl Principal {
    /// The operator on this machine (Unix socket, in-process agent): may do all.
    ///
    /// Events it delivers are from `sensor`; without one they keep the sensor
    /// and domain that they name, as the process that made them is this one.
    #[must_use]
    pub fn local(sensor: Option<SensorId>) -> Self {
        Self(Identity::Local { sensor })
    }

    /// Anybody: may read community events, and nothing else. Only for doors
    /// that the operator has opened to strangers.
    #[must_use]
    pub fn public() -> Self {
        Self(Identity::Public)
    }

    /// A publisher that the settings name and whose secret was checked: it
    /// delivers as `sensor` into `domain`.
    #[must_use]
    pub fn publisher(sensor: SensorId, domain: Domain) -> Self {
        Self(Identity::Publisher { sensor, domain })
    }

    /// Whoever shows the key of Glimpse's dialect that the settings name, and that
    /// was checked; `None` where `sensor` is no name.
    #[must_use]
    pub fn glimpse(sensor: &str) -> Option<Self> {
        let sensor = SensorId::new(sensor).ok()?;
        let (id, scopes) = (sensor.to_string(), vec![Scope::Glimpse]);
        Some(Self(Identity::Key { id, sensor, scopes, domain: Domain::Private }))
    }

    /// The sensor that a key of Glimpse's dialect delivers as.
    pub(crate) fn glimpse_sensor(&self) -> Option<&SensorId> {
        match &self.0 {
            Identity::Key { sensor, scopes, .. } => {
                Some(sensor).filter(|_| scopes.contains(&Scope::Glimpse))
            }
            _ => None,
        }
    }

    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        match &self.0 {
            Identity::Local { .. } => true,
            Identity::Publisher { .. } => permission == Permission::Ingest,
            Identity::Account { role, .. } => match permission {
                Permission::Ingest
                | Permission::Decisions
                | Permission::Bouncer
                | Permission::Glimpse => false,
                Permission::Read => true,
                Permission::Operate => matches!(role, Role::Operator | Role::Admin),
                Permission::Administer => *role == Role::Admin,
            },
            Identity::Ews { read_only, .. } => match permission {
                Permission::Ingest => !read_only,
                Permission::Read => true,
                Permission::Operate
                | Permission::Administer
                | Permission::Decisions
                | Permission::Bouncer
                | Permission::Glimpse => false,
            },
            Identity::Public => permission == Permission::Read,
            Identity::Key { scopes, .. } => {
                let has = |scope| scopes.contains(&scope);
                match permission {
                    Permission::Ingest => has(Scope::Ingest),
                    Permission::Read => has(Scope::Read) || has(Scope::Admin),
                    Permission::Operate | Permission::Administer => has(Scope::Admin),
                    Permission::Decisions => {
                        has(Scope::Decisions) || has(Scope::Ingest) || has(Scope::Admin)
                    }
                    Permission::Bouncer => has(Scope::Bouncer),
                    Permission::Glimpse => has(Scope::Glimpse),
                }
            }
        }
    }

    /// Whether it may see events of this domain (if it may read at all):
    /// community is for all; private for accounts, private keys, admin keys,
    /// private EWS users that are not held to the community, and the local
    /// operator.
    #[must_use]
    pub fn sees(&self, domain: Domain) -> bool {
        match (&self.0, domain) {
            (_, Domain::Community)
            | (Identity::Local { .. } | Identity::Account { .. }, Domain::Private) => true,
            (Identity::Publisher { domain, .. }, Domain::Private) => *domain == Domain::Private,
            (Identity::Key { scopes, domain, .. }, Domain::Private) => {
                *domain == Domain::Private || scopes.contains(&Scope::Admin)
            }
            (Identity::Ews { domain, community_only, .. }, Domain::Private) => {
                *domain == Domain::Private && !community_only
            }
            (Identity::Public, Domain::Private) => false,
        }
    }

    /// Its name, for logs and the page: the account's, key's or EWS user's,
    /// `local` or `public`.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Identity::Local { .. } => "local",
            Identity::Account { name, .. } => name,
            Identity::Key { sensor, .. } | Identity::Publisher { sensor, .. } => sensor.as_str(),
            Identity::Ews { name, .. } => name.as_str(),
            Identity::Public => "public",
        }
    }

    /// The role, where it is an account.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match &self.0 {
            Identity::Account { role, .. } => Some(*role),
            _ => None,
        }
    }

    /// Id of the key, where it is one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match &self.0 {
            Identity::Key { id, .. } => Some(id),
            _ => None,
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scopes: &[Scope], domain: Domain) -> Principal {
        Principal(Identity::Key {
            id: "1".into(),
            sensor: SensorId::new("web-1").unwrap(),
            scopes: scopes.to_vec(),
            domain,
        })
    }

    fn account(role: Role) -> Principal {
        Principal(Identity::Account { name: "anna".into(), role })
    }

    fn ews(domain: Domain, read_only: bool, community_only: bool) -> Principal {
        let name = SensorId::new("tpot-1").unwrap();
        Principal(Identity::Ews { name, domain, read_only, community_only })
    }

    const ALL: [Permission; 4] =
        [Permission::Ingest, Permission::Read, Permission::Operate, Permission::Administer];

    #[test]
    fn each_credential_may_do_exactly_its_part() {
        let may = |who: &Principal| ALL.map(|permission| who.may(permission));
        assert_eq!(may(&Principal::local(None)), [true, true, true, true]);
        assert_eq!(may(&account(Role::Viewer)), [false, true, false, false]);
        assert_eq!(may(&account(Role::Operator)), [false, true, true, false]);
        assert_eq!(may(&account(Role::Admin)), [false, true, true, true]);
        let private = Domain::Private;
        assert_eq!(may(&key(&[Scope::Ingest], private)), [true, false, false, false]);
        assert_eq!(may(&key(&[Scope::Read], private)), [false, true, false, false]);
        assert_eq!(may(&key(&[Scope::Admin], private)), [false, true, true, true]);
        assert_eq!(may(&key(&[], private)), [false, false, false, false]);
        let sensor = SensorId::new("pot-1").unwrap();
        assert_eq!(may(&Principal::publisher(sensor, private)), [true, false, false, false]);
        assert_eq!(may(&ews(private, false, false)), [true, true, false, false]);
        assert_eq!(may(&ews(private, true, false)), [false, true, false, false]);
        assert_eq!(may(&Principal::public()), [false, true, false, false]);
    }

    #[test]
    fn agents_and_bouncers_hear_of_decisions_and_do_nothing_else() {
        let hears = |who: &Principal| {
            [Permission::Decisions, Permission::Bouncer].map(|permission| who.may(permission))
        };
        let private = Domain::Private;
        assert_eq!(hears(&key(&[Scope::Decisions], private)), [true, false]);
        assert_eq!(hears(&key(&[Scope::Ingest], private)), [true, false]);
        assert_eq!(hears(&key(&[Scope::Bouncer], private)), [false, true]);
        assert_eq!(hears(&key(&[Scope::Read], private)), [false, false]);
        assert_eq!(hears(&account(Role::Admin)), [false, false]);
        assert_eq!(hears(&Principal::public()), [false, false]);
        for scope in [Scope::Decisions, Scope::Bouncer] {
            assert_eq!(ALL.map(|permission| key(&[scope], private).may(permission)), [false; 4]);
        }
    }

    #[test]
    fn the_community_and_the_public_do_not_see_private_events() {
        assert!(ews(Domain::Private, true, false).sees(Domain::Private));
        for who in [
            ews(Domain::Private, false, true),
            ews(Domain::Community, false, false),
            Principal::public(),
        ] {
            assert!(!who.sees(Domain::Private), "{who:?}");
            assert!(who.sees(Domain::Community), "{who:?}");
        }
    }

    #[test]
    fn a_community_key_does_not_see_private_events() {
        assert!(!key(&[Scope::Read], Domain::Community).sees(Domain::Private));
        assert!(key(&[Scope::Read], Domain::Community).sees(Domain::Community));
        assert!(key(&[Scope::Read], Domain::Private).sees(Domain::Private));
        assert!(key(&[Scope::Admin], Domain::Community).sees(Domain::Private));
        assert!(account(Role::Viewer).sees(Domain::Private));
        let publisher = |domain| Principal::publisher(SensorId::new("pot-1").unwrap(), domain);
        assert!(publisher(Domain::Private).sees(Domain::Private));
        assert!(!publisher(Domain::Community).sees(Domain::Private));
    }
}
