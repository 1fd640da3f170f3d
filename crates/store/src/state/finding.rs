//! Checks that fail on machines, and those that an operator does not want to be
//! counted for a while.

use palisade_event::Timestamp;

use super::host::HostUpdate;
use super::sql::{Row, Tx, sql};
use super::{State, StateError};

/// A check that fails on a machine, or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The machine.
    pub host: String,
    /// The check.
    pub check: String,
    /// What it is called.
    pub title: String,
    /// How bad it is: low, medium, high or critical.
    pub severity: String,
    /// What it belongs to.
    pub area: String,
    /// Evidence, reason, fix and reference, a JSON object.
    pub detail: String,
    /// Since when it fails, or failed last.
    pub opened_at: Timestamp,
    /// Since when it passes.
    pub closed_at: Option<Timestamp>,
    /// Why it was closed.
    pub reason: Option<String>,
}

/// What changed about a check on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingChange {
    /// It fails; `host` in it is not looked at.
    Opened(Finding),
    /// It passes, or is gone.
    Closed {
        /// The check.
        check: String,
        /// When.
        at: Timestamp,
        /// Why.
        reason: Option<String>,
    },
}

/// The outcome of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// When the hub took it.
    pub at: Timestamp,
    /// 0 to 100.
    pub score: i64,
    /// Counts, a JSON object.
    pub detail: String,
    /// Checks that may be open after it: those that fail and those that could not
    /// be judged. `None` where it does not say, or not all.
    pub open: Option<Vec<String>>,
}

/// Findings that are not to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Names it.
    pub id: String,
    /// The check.
    pub check: String,
    /// The machine; of all where none is named.
    pub host: Option<String>,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub made_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl State {
    /// Findings by machine and check: those that are open, and those that were
    /// closed since an instant.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn findings(
        &self,
        host: Option<&str>,
        closed_since: Timestamp,
    ) -> Result<Vec<Finding>, StateError> {
        let mut asked = sql("SELECT * FROM finding WHERE (closed_at IS NULL OR closed_at >= $1)")
            .bind(closed_since.as_millis());
        if let Some(host) = host {
            asked.push(" AND host = ");
            asked.push_bind(host);
        }
        asked.push(" ORDER BY id");
        asked.rows(&self.db).await?.iter().map(finding).collect()
    }

    /// What is not to be counted at an instant, by id.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn suppressions(&self, now: Timestamp) -> Result<Vec<Suppression>, StateError> {
        sql("SELECT * FROM suppression WHERE until_at > $1 ORDER BY id")
            .bind(now.as_millis())
            .rows(&self.db)
            .await?
            .iter()
            .map(suppression)
            .collect()
    }

    /// Adds one; those that are over go.
    ///
    /// # Errors
    /// [`StateError::Full`] where there are `most` already.
    pub async fn add_suppression(&self, one: &Suppression, most: u32) -> Result<(), StateError> {
        sql("DELETE FROM suppression WHERE until_at <= $1")
            .bind(one.created_at.as_millis())
            .execute(&self.db)
            .await?;
        let count = sql("SELECT COUNT(*) AS n FROM suppression")
            .row(&self.db)
            .await?
            .map_or(Ok(0), |row| row.count("n"))?;
        if count >= u64::from(most) {
            return Err(StateError::Full);
        }
        sql("INSERT INTO suppression (id, check_id, host, reason, made_by, created_at, until_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&one.id)
        .bind(&one.check)
        .bind(&one.host)
        .bind(&one.reason)
        .bind(&one.made_by)
        .bind(one.created_at.as_millis())
        .bind(one.until.as_millis())
        .execute(&self.db)
        .await
        .map(drop)
    }

    /// Takes one away; whether it was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_suppression(&self, id: &str) -> Result<bool, StateError> {
        let gone = sql("DELETE FROM suppression WHERE id = $1").bind(id).execute(&self.db).await?;
        Ok(gone > 0)
    }

    /// Forgets findings that were closed before an instant. Returns how many.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn forget_findings(&self, before: Timestamp) -> Result<u64, StateError> {
        sql("DELETE FROM finding WHERE closed_at < $1")
            .bind(before.as_millis())
            .execute(&self.db)
            .await
    }
}

/// Notes what is new about the checks of a machine.
pub(super) async fn note(tx: &mut Tx, update: &HostUpdate) -> Result<(), StateError> {
    for change in &update.findings {
        match change {
            FindingChange::Opened(finding) => open(tx, &update.id, finding).await?,
            FindingChange::Closed { check, at, reason } => {
                close(tx, &update.id, check, *at, reason.as_deref()).await?;
            }
        }
    }
    if let Some(audit) = &update.audit {
        sql("UPDATE host SET audit = $1, score = $2, audited_at = $3
             WHERE id = $4 AND (audited_at IS NULL OR audited_at <= $3)")
        .bind(&audit.detail)
        .bind(audit.score)
        .bind(audit.at.as_millis())
        .bind(&update.id)
        .execute(&mut *tx)
        .await?;
        if let Some(open) = &audit.open {
            reconcile(tx, &update.id, audit.at, open).await?;
        }
    }
    Ok(())
}

async fn open(tx: &mut Tx, host: &str, one: &Finding) -> Result<(), StateError> {
    // A finding that stays open keeps its beginning.
    sql("INSERT INTO finding (id, host, check_id, title, severity, area, detail, opened_at,
                              changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
         ON CONFLICT (id) DO UPDATE SET
         title = excluded.title, severity = excluded.severity, area = excluded.area,
         detail = excluded.detail, changed_at = excluded.changed_at, closed_at = NULL,
         reason = NULL,
         opened_at = CASE WHEN finding.closed_at IS NULL
                     THEN finding.opened_at ELSE excluded.opened_at END
         WHERE excluded.changed_at >= finding.changed_at")
    .bind(format!("{host}/{}", one.check))
    .bind(host)
    .bind(&one.check)
    .bind(&one.title)
    .bind(&one.severity)
    .bind(&one.area)
    .bind(&one.detail)
    .bind(one.opened_at.as_millis())
    .execute(tx)
    .await
    .map(drop)
}

async fn close(
    tx: &mut Tx,
    host: &str,
    check: &str,
    at: Timestamp,
    reason: Option<&str>,
) -> Result<(), StateError> {
    sql("UPDATE finding SET closed_at = $1, changed_at = $1, reason = $2
         WHERE id = $3 AND closed_at IS NULL AND changed_at <= $1")
    .bind(at.as_millis())
    .bind(reason)
    .bind(format!("{host}/{check}"))
    .execute(tx)
    .await
    .map(drop)
}

/// Closes what an audit does not name any more: the event that said so may be lost.
async fn reconcile(
    tx: &mut Tx,
    host: &str,
    at: Timestamp,
    open: &[String],
) -> Result<(), StateError> {
    let rows = sql("SELECT check_id FROM finding WHERE host = $1 AND closed_at IS NULL")
        .bind(host)
        .rows(&mut *tx)
        .await?;
    for row in rows {
        let check: String = row.get("check_id")?;
        if !open.contains(&check) {
            close(tx, host, &check, at, Some("passes")).await?;
        }
    }
    Ok(())
}

fn finding(row: &Row) -> Result<Finding, StateError> {
    Ok(Finding {
        host: row.get("host")?,
        check: row.get("check_id")?,
        title: row.get("title")?,
        severity: row.get("severity")?,
        area: row.get("area")?,
        detail: row.get("detail")?,
        opened_at: Timestamp::from_millis(row.get("opened_at")?),
        closed_at: row.get::<Option<i64>>("closed_at")?.map(Timestamp::from_millis),
        reason: row.get("reason")?,
    })
}

fn suppression(row: &Row) -> Result<Suppression, StateError> {
    Ok(Suppression {
        id: row.get("id")?,
        check: row.get("check_id")?,
        host: row.get("host")?,
        reason: row.get("reason")?,
        made_by: row.get("made_by")?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        until: Timestamp::from_millis(row.get("until_at")?),
    })
}
