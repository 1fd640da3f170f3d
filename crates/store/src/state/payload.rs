//! Captured payloads: what is known of each. Not their bytes; those are in
//! [`crate::blob`].

use std::net::IpAddr;

use palisade_event::{PayloadHash, Timestamp};

use super::sql::{Purpose, Row, Value, sql, sql_rows, sql_text};
use super::{State, StateError, parsed};

/// Columns in the order of [`Payload`].
const COLUMNS: &str = "sha256, md5, text_hash, mime, first_source, bytes, first_seen, last_seen, \
                       seen, first_port, kept";

/// What is known of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Names it everywhere.
    pub sha256: PayloadHash,
    /// MD5 in hex, as others name it.
    pub md5: String,
    /// SHA-256 in hex of an HTTP request without its Host header.
    pub text_hash: Option<String>,
    /// What it is, by its content.
    pub mime: String,
    /// Where it first came from.
    pub first_source: Option<IpAddr>,
    /// Its size.
    pub bytes: u64,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Events that brought it.
    pub seen: u64,
    /// The port it first came to or from.
    pub first_port: Option<u16>,
    /// Whether its bytes are still there.
    pub kept: bool,
}

/// Events that brought a payload since the last time they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadSightings {
    /// The payload.
    pub sha256: PayloadHash,
    /// How many events.
    pub events: u64,
    /// The last of them.
    pub last_seen: Timestamp,
}

/// Which payloads are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadQuery {
    /// SHA-256 or MD5 that begin with one of these, in lower-case hex; all
    /// where there is none.
    pub hashes: Vec<String>,
    /// MIME types that begin so.
    pub mime: Option<String>,
    /// Only those after this one: the last of the page before.
    pub after: Option<(Timestamp, PayloadHash)>,
}

/// Counts of the whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadTotals {
    /// Payloads that are known.
    pub known: u64,
    /// Payloads whose bytes are there.
    pub kept: u64,
    /// Bytes that are there.
    pub bytes: u64,
}

impl State {
    /// Adds a payload that is new. Returns what is known by its hash or, of an
    /// HTTP request, by its text: the new one, or the one that was there.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn add_payload(&self, new: &Payload) -> Result<Payload, StateError> {
        let rows = vec![vec![
            Value::from(new.sha256.to_string()),
            Value::from(&new.md5),
            Value::from(&new.text_hash),
            Value::from(&new.mime),
            Value::from(new.first_source.map(|address| address.to_string())),
            Value::from(signed(new.bytes)),
            Value::from(new.first_seen.as_millis()),
            Value::from(new.last_seen.as_millis()),
            Value::from(signed(new.seen)),
            Value::from(new.first_port.map(i64::from)),
            Value::from(i64::from(new.kept)),
        ]];
        // Bytes that are gone give up their text: others that have it may be kept.
        if let Some(text_hash) = &new.text_hash {
            sql("UPDATE payload SET text_hash = NULL
                 WHERE text_hash = $1 AND kept = 0 AND sha256 <> $2")
            .bind(text_hash.clone())
            .bind(new.sha256.to_string())
            .execute(&self.db)
            .await?;
        }
        sql_rows(format!("INSERT INTO payload ({COLUMNS}) VALUES"), rows, "ON CONFLICT DO NOTHING")
            .execute(&self.db)
            .await?;
        // A payload whose bytes were removed has them again, and is not the next to go.
        sql("UPDATE payload SET kept = 1,
                    last_seen = CASE WHEN last_seen < $2 THEN $2 ELSE last_seen END
             WHERE sha256 = $1 AND kept = 0")
        .bind(new.sha256.to_string())
        .bind(new.last_seen.as_millis())
        .execute(&self.db)
        .await?;
        let found = self.payload_like(new.sha256, new.text_hash.as_deref()).await?;
        found.ok_or(StateError::NotFound)
    }

    /// The payload of this hash or, where its bytes are not there, of this text.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn payload_like(
        &self,
        sha256: PayloadHash,
        text_hash: Option<&str>,
    ) -> Result<Option<Payload>, StateError> {
        let by_hash = self.payload(sha256).await?;
        let is_kept = by_hash.as_ref().is_some_and(|found| found.kept);
        let Some(text_hash) = text_hash.filter(|_| !is_kept) else { return Ok(by_hash) };
        let by_text = sql("SELECT * FROM payload WHERE text_hash = $1")
            .bind(text_hash)
            .row(&self.db)
            .await?
            .map(|row| payload(&row))
            .transpose()?;
        Ok(match by_text {
            Some(found) if found.kept || by_hash.is_none() => Some(found),
            _ => by_hash,
        })
    }

    /// A payload by its hash.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn payload(&self, sha256: PayloadHash) -> Result<Option<Payload>, StateError> {
        sql("SELECT * FROM payload WHERE sha256 = $1")
            .bind(sha256.to_string())
            .row(&self.db)
            .await?
            .map(|row| payload(&row))
            .transpose()
    }

    /// Payloads, the last seen first.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn payloads(
        &self,
        query: &PayloadQuery,
        limit: u32,
    ) -> Result<Vec<Payload>, StateError> {
        let mut text = "SELECT * FROM payload WHERE 1 = 1".to_owned();
        let mut values: Vec<Value<'_>> = Vec::new();
        let mut and = |condition: &str, value: Vec<Value<'static>>| {
            let mut condition = condition.to_owned();
            for one in value {
                values.push(one);
                condition = condition.replacen('?', &format!("${}", values.len()), 1);
            }
            text.push_str(" AND ");
            text.push_str(&condition);
        };
        // Ranges, not LIKE: what is asked for is text, not a pattern.
        let begins = |text: &str| {
            vec![Value::from(text.to_owned()), Value::from(format!("{text}\u{10ffff}"))]
        };
        if !query.hashes.is_empty() {
            let one = "(sha256 >= ? AND sha256 < ?) OR (md5 >= ? AND md5 < ?)";
            let any = vec![one; query.hashes.len()].join(" OR ");
            let both = |hash: &String| begins(hash).into_iter().chain(begins(hash));
            and(&format!("({any})"), query.hashes.iter().flat_map(both).collect());
        }
        if let Some(mime) = &query.mime {
            and("(mime >= ? AND mime < ?)", begins(mime));
        }
        if let Some((last_seen, sha256)) = query.after {
            let millis = last_seen.as_millis();
            let after = vec![millis.into(), millis.into(), sha256.to_string().into()];
            and("(last_seen < ? OR (last_seen = ? AND sha256 > ?))", after);
        }
        text.push_str(&format!(" ORDER BY last_seen DESC, sha256 LIMIT {limit}"));
        let statement =
            values.into_iter().fold(sql_text(text), |statement, value| statement.bind(value));
        statement.rows(&self.db).await?.iter().map(payload).collect()
    }

    /// Adds up sightings, in one transaction.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn see_payloads(&self, sightings: &[PayloadSightings]) -> Result<(), StateError> {
        let mut transaction = self.db.begin(Purpose::Write).await?;
        for one in sightings {
            sql("UPDATE payload SET seen = seen + $2,
                        last_seen = CASE WHEN last_seen < $3 THEN $3 ELSE last_seen END
                 WHERE sha256 = $1")
            .bind(one.sha256.to_string())
            .bind(signed(one.events))
            .bind(one.last_seen.as_millis())
            .execute(&mut transaction)
            .await?;
        }
        transaction.commit().await
    }

    /// Those whose bytes are there, the longest unseen first.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn stale_payloads(&self, limit: u32) -> Result<Vec<Payload>, StateError> {
        sql_text(format!(
            "SELECT * FROM payload WHERE kept = 1 ORDER BY last_seen, sha256 LIMIT {limit}"
        ))
        .rows(&self.db)
        .await?
        .iter()
        .map(payload)
        .collect()
    }

    /// Notes that the bytes of a payload are not there any more, unless it was
    /// seen after `last_seen`. Whether it was noted.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn drop_payload(
        &self,
        sha256: PayloadHash,
        last_seen: Timestamp,
    ) -> Result<bool, StateError> {
        sql("UPDATE payload SET kept = 0 WHERE sha256 = $1 AND kept = 1 AND last_seen <= $2")
            .bind(sha256.to_string())
            .bind(last_seen.as_millis())
            .execute(&self.db)
            .await
            .map(|rows| rows > 0)
    }

    /// Forgets a payload as if it had never been; nothing may name it.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn remove_payload(&self, sha256: PayloadHash) -> Result<(), StateError> {
        sql("DELETE FROM payload WHERE sha256 = $1")
            .bind(sha256.to_string())
            .execute(&self.db)
            .await?;
        Ok(())
    }

    /// Counts and sizes.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn payload_totals(&self) -> Result<PayloadTotals, StateError> {
        let row = sql("SELECT COUNT(*) AS known, CAST(COALESCE(SUM(kept), 0) AS BIGINT) AS kept,
                              CAST(COALESCE(SUM(bytes * kept), 0) AS BIGINT) AS bytes
                       FROM payload")
        .row(&self.db)
        .await?;
        let Some(row) = row else { return Ok(PayloadTotals::default()) };
        Ok(PayloadTotals {
            known: row.count("known")?,
            kept: row.count("kept")?,
            bytes: row.count("bytes")?,
        })
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn payload(row: &Row) -> Result<Payload, StateError> {
    let address: Option<String> = row.get("first_source")?;
    let port: Option<i64> = row.get("first_port")?;
    Ok(Payload {
        sha256: parsed(&row.get::<String>("sha256")?, "payload hash")?,
        md5: row.get("md5")?,
        text_hash: row.get("text_hash")?,
        mime: row.get("mime")?,
        first_source: address.map(|text| parsed(&text, "address")).transpose()?,
        bytes: row.count("bytes")?,
        first_seen: Timestamp::from_millis(row.get("first_seen")?),
        last_seen: Timestamp::from_millis(row.get("last_seen")?),
        seen: row.count("seen")?,
        first_port: port.and_then(|port| u16::try_from(port).ok()),
        kept: row.get::<i64>("kept")? != 0,
    })
}
