//! Vulnerabilities that were aimed at: who did it first, and which
//! announcements of that are on their way. What is a vulnerability and who is
//! told is decided by the hub.

use std::net::IpAddr;

use palisade_event::{Domain, EventId, SensorId, Timestamp};

use super::sql::{Purpose, Row, sql};
use super::{State, StateError, parsed, parsed_domain};

/// A vulnerability and the first event that aimed at it, in one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCve {
    /// Its id, such as `CVE-2026-24061`.
    pub cve: String,
    /// Domain of the event.
    pub domain: Domain,
    /// When the event happened.
    pub first_seen: Timestamp,
    /// When it was last aimed at.
    pub last_seen: Timestamp,
    /// The event.
    pub first_event: EventId,
    /// Where it came from.
    pub first_source: Option<IpAddr>,
    /// Who observed it.
    pub first_sensor: SensorId,
    /// The type of service.
    pub category: Option<String>,
}

/// What became of [`State::note_cves`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotedCves {
    /// Those that no domain had before.
    pub new: Vec<String>,
    /// Those that were left out, as there are too many.
    pub left_out: u64,
    /// Announcements that were left out, as too many wait.
    pub not_announced: u64,
}

/// Bounds of [`State::note_cves`].
#[derive(Clone, Copy, Debug)]
pub struct CveLimits {
    /// Vulnerabilities that are remembered.
    pub cves: u64,
    /// Announcements that wait.
    pub announcements: u64,
}

/// An announcement that somebody has taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Names it, also to who hears of it.
    pub id: String,
    /// What is announced.
    pub cve: String,
    /// Which try this is, from 1.
    pub attempt: u32,
}

impl State {
    /// Remembers vulnerabilities, and for those that no domain had before an
    /// announcement to each of `hooks`.
    ///
    /// # Errors
    /// [`StateError`]: nothing was written, or nobody knows; it may be repeated.
    pub async fn note_cves(
        &self,
        seen: &[SeenCve],
        hooks: &[&str],
        limits: CveLimits,
        now: Timestamp,
    ) -> Result<NotedCves, StateError> {
        let mut noted = NotedCves::default();
        let mut tx = self.db.begin(Purpose::Write).await?;
        let count = sql("SELECT COUNT(*) AS count FROM cve").row(&mut tx).await?;
        let mut cves = count.map_or(Ok(0), |row| row.count("count"))?;
        let count = sql("SELECT COUNT(*) AS count FROM announcement").row(&mut tx).await?;
        let mut waiting = count.map_or(Ok(0), |row| row.count("count"))?;
        for one in seen {
            let id = format!("{}/{}", one.domain.as_str(), one.cve);
            let known = sql("UPDATE cve SET last_seen =
                 CASE WHEN last_seen < $2 THEN $2 ELSE last_seen END WHERE id = $1")
            .bind(&id)
            .bind(one.last_seen.as_millis())
            .execute(&mut tx)
            .await?;
            if known > 0 {
                continue;
            }
            if cves >= limits.cves {
                noted.left_out += 1;
                continue;
            }
            let added = sql("INSERT INTO cve (id, cve, domain, first_seen, last_seen, first_event,
                 first_source, first_sensor, category)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING")
            .bind(&id)
            .bind(&one.cve)
            .bind(one.domain.as_str())
            .bind(one.first_seen.as_millis())
            .bind(one.last_seen.as_millis())
            .bind(one.first_event.to_string())
            .bind(one.first_source.map(|address| address.to_string()))
            .bind(one.first_sensor.as_str())
            .bind(&one.category)
            .execute(&mut tx)
            .await?;
            cves += added;
            let others = sql("SELECT COUNT(*) AS count FROM cve WHERE cve = $1")
                .bind(&one.cve)
                .row(&mut tx)
                .await?
                .map_or(Ok(0), |row| row.count("count"))?;
            if added == 0 || others > 1 {
                continue;
            }
            noted.new.push(one.cve.clone());
            for &hook in hooks {
                if waiting >= limits.announcements {
                    noted.not_announced += 1;
                    continue;
                }
                waiting +=
                    sql("INSERT INTO announcement (id, hook, cve, created_at, due_at, attempts)
                     VALUES ($1, $2, $3, $4, $4, 0) ON CONFLICT (id) DO NOTHING")
                    .bind(format!("{hook}/{}", one.cve))
                    .bind(hook)
                    .bind(&one.cve)
                    .bind(now.as_millis())
                    .execute(&mut tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(noted)
    }

    /// Vulnerabilities, the newest first.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn cves(&self, limit: u32) -> Result<Vec<SeenCve>, StateError> {
        sql("SELECT * FROM cve ORDER BY first_seen DESC, id LIMIT $1")
            .bind(i64::from(limit))
            .rows(&self.db)
            .await?
            .iter()
            .map(seen_cve)
            .collect()
    }

    /// What is remembered of one vulnerability, a row a domain.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn cve(&self, cve: &str) -> Result<Vec<SeenCve>, StateError> {
        sql("SELECT * FROM cve WHERE cve = $1 ORDER BY first_seen, id")
            .bind(cve)
            .rows(&self.db)
            .await?
            .iter()
            .map(seen_cve)
            .collect()
    }

    /// Forgets all vulnerabilities and announcements, so that the next start
    /// finds them in the events again; how many vulnerabilities.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn forget_cves(&self) -> Result<u64, StateError> {
        let mut tx = self.db.begin(Purpose::Write).await?;
        sql("DELETE FROM announcement").execute(&mut tx).await?;
        let forgotten = sql("DELETE FROM cve").execute(&mut tx).await?;
        tx.commit().await?;
        Ok(forgotten)
    }

    /// Takes on the announcement to `hook` that is due for longest, until
    /// `lease_until`: then it is due again, unless it is ended or put off.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn take_announcement(
        &self,
        hook: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Option<Announcement>, StateError> {
        let due = sql("SELECT id, cve, due_at, attempts FROM announcement
             WHERE hook = $1 AND due_at <= $2 ORDER BY due_at, id LIMIT 1")
        .bind(hook)
        .bind(now.as_millis())
        .row(&self.db)
        .await?;
        let Some(due) = due else { return Ok(None) };
        let id: String = due.get("id")?;
        let attempts = due.count("attempts")?;
        let taken = sql("UPDATE announcement SET due_at = $3, attempts = attempts + 1
             WHERE id = $1 AND due_at = $2")
        .bind(&id)
        .bind(due.get::<i64>("due_at")?)
        .bind(lease_until.as_millis())
        .execute(&self.db)
        .await?;
        if taken == 0 {
            // Another hub has it.
            return Ok(None);
        }
        let attempt = u32::try_from(attempts.saturating_add(1)).unwrap_or(u32::MAX);
        Ok(Some(Announcement { id, cve: due.get("cve")?, attempt }))
    }

    /// An announcement is over: it was heard.
    ///
    /// # Errors
    /// [`StateError`]: it may be made once more.
    pub async fn end_announcement(&self, id: &str) -> Result<(), StateError> {
        sql("DELETE FROM announcement WHERE id = $1").bind(id).execute(&self.db).await.map(drop)
    }

    /// An announcement failed and is due again at `due_at`.
    ///
    /// # Errors
    /// [`StateError`]: it is due when its lease ends.
    pub async fn put_off_announcement(
        &self,
        id: &str,
        due_at: Timestamp,
    ) -> Result<(), StateError> {
        sql("UPDATE announcement SET due_at = $2 WHERE id = $1")
            .bind(id)
            .bind(due_at.as_millis())
            .execute(&self.db)
            .await
            .map(drop)
    }

    /// How many announcements wait.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn waiting_announcements(&self) -> Result<u64, StateError> {
        sql("SELECT COUNT(*) AS count FROM announcement")
            .row(&self.db)
            .await?
            .map_or(Ok(0), |row| row.count("count"))
    }

    /// Gives up announcements that are older; how many.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn give_up_announcements(&self, older_than: Timestamp) -> Result<u64, StateError> {
        sql("DELETE FROM announcement WHERE created_at < $1")
            .bind(older_than.as_millis())
            .execute(&self.db)
            .await
    }
}

fn seen_cve(row: &Row) -> Result<SeenCve, StateError> {
    let source: Option<String> = row.get("first_source")?;
    Ok(SeenCve {
        cve: row.get("cve")?,
        domain: parsed_domain(&row.get::<String>("domain")?)?,
        first_seen: Timestamp::from_millis(row.get("first_seen")?),
        last_seen: Timestamp::from_millis(row.get("last_seen")?),
        first_event: parsed(&row.get::<String>("first_event")?, "event id")?,
        first_source: source.map(|text| parsed(&text, "address")).transpose()?,
        first_sensor: SensorId::new(&row.get::<String>("first_sensor")?)
            .map_err(|_| StateError::Unreadable("sensor"))?,
        category: row.get("category")?,
    })
}
