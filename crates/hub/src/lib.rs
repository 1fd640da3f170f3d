//! The service core: takes events in, keeps them, answers questions about
//! them. Free of HTTP; the dialects of `api` are thin layers over this.
//!
//! Data flows one way: [`Hub::accept`] → spool (fsync) → receipt; spool →
//! writer → enrichment → store → live. Questions go to the store alone.

pub mod alerts;
mod auth;
mod background;
mod blocklist;
mod config;
mod correlation;
mod cve;
mod decisions;
mod detection;
mod enrich;
mod error;
mod feed;
mod handover;
mod health;
mod hosts;
mod hub;
mod ingest;
mod lines;
mod listing;
mod live;
mod lock;
mod metrics;
mod notify;
mod outbound;
mod payload;
mod plugins;
mod quarantine;
mod query;
mod recent;
mod saved_query;
mod sensors;
mod sessions;
mod state;
mod status;
mod writer;

pub use auth::{Permission, Principal};
pub use blocklist::{Banned, Blocklist, BlocklistPass, MAX_LINKS, NewLink, SignedLink};
pub use config::{
    Config, GeoConfig, Home, HostsConfig, NotifyConfig, QuarantineConfig, SpoolConfig, Webhook,
    WebhookKind,
};
pub use cve::CveInfo;
pub use decisions::{
    Ban, FeedPage, FeedQuestion, HostEffect, HostState, LetIn, MAX_ALLOW_ENTRIES, MAX_LINK_SECS,
    MAX_PULLED, MAX_SPARED_SECS, MadeKnockLink, NewAllowEntry, NewKnockLink, OpenKnockLink, Pull,
    TargetEffect, Told,
};
pub use detection::{
    DetectionSetup, DetectorInfo, MAX_EXPLAINED_BYTES, MAX_EXPLAINED_LINES, ScenarioInfo,
    ScenarioList, ScenarioRule, SimulationSwitch,
};
pub use error::{AdminError, IngestError, OpenError, QueryError, SignInError, StateError};
pub use feed::{Feed, FeedItem};
pub use hosts::{
    Clear, DayRange, FindingCounts, FindingInfo, Findings, FindingsQuestion, HostAlertInfo,
    HostInfo, HostInventory, HostLog, HostSample, HostSamples, HostSectionInfo, MAX_HOST_LOGS,
    NewSuppression, PushError, SuppressionInfo,
};
pub use hub::{DecisionEffect, HostChanges, Hub};
pub use ingest::Unfit;
pub use lines::{
    LinesReceipt, MAX_BODY_EVENTS, MAX_BODY_LINES, Source as LineSource, read_log_line,
};
pub use listing::{
    EwsSecret, EwsUserInfo, KeyInfo, NewEwsUser, NewKey, QuarantineList, QuarantinedRecord,
    SensorStatus, Session, SessionInfo, SignedIn,
};
pub use live::{Live, LiveItem};
pub use lock::DataLock;
pub use notify::{Announcement, Outbox};
pub use outbound::{
    DecisionWebhook, DecisionWebhookKind, Forwarder, News, Occasion, OutboundConfig, OutboundKind,
    OutboundStatus, SendError, Sent, Transport, VIA, read_secret,
};
pub use palisade_rules::{
    ExplainedAlert, ExplainedDecision, ExplainedLine, ExplainedScenario, ExplainedSighting,
    LogFormat, Shown, SightingFields, Switches, UnknownFormat,
};
pub use palisade_store::blob::{PayloadConfig, S3Config};
pub use palisade_store::state::Ranges;
pub use palisade_store::state::{
    Account, Engine as StateEngine, HostSource, Role, Scope, SensorKind,
};
pub use palisade_store::state::{
    AllowEntry, BlocklistLink, Bouncer, BouncerUsage, Cover, DecisionCounts, DecisionQuery,
    DecisionRecord, Which,
};
pub use palisade_store::state::{Payload, PayloadQuery, PayloadTotals};
pub use payload::NewPayload;
pub use plugins::{MAX_PAGE_ROWS, PluginRows};
pub use saved_query::{NewSavedQuery, SavedQuery};
pub use sessions::{
    AttackSession, AttackSessionEvents, AttackSessionPage, MAX_PAGE_SESSIONS, Recording,
    ReportedSession, SessionReport,
};
pub use status::{
    IngestStatus, QuarantineStatus, SpoolStatus, StateStatus, Status, StoreState, StoreStatus,
};

/// Name of the account that the first start makes and that cannot be removed.
pub const ADMIN: &str = "admin";
/// Name of the EWS user that the first start makes, for all who share what they
/// see with the community.
pub const COMMUNITY_USER: &str = auth::COMMUNITY_USER;
/// Sensor name of the demonstration's events.
pub const DEMO_SENSOR: &str = "demo";
