//! The whole result of a search as a download, page by page from the store, so
//! that its size costs no memory.

use std::fmt::Write as _;
use std::io;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use palisade_event::table::csv;
use palisade_hub::Principal;
use palisade_store::Page;
use palisade_store::query::{Cursor, Query};

use super::events::{Format, MAX_PAGE_EVENTS};
use crate::error::Problem;
use crate::router::App;

/// Most events of one download.
pub(crate) const MAX_EVENTS: usize = 1_000_000;

/// Where a download is.
struct Progress {
    app: App,
    who: Principal,
    query: Query,
    format: Format,
    left: usize,
    next: Next,
}

enum Next {
    /// This page, read already.
    Page(Page),
    /// The page after this place.
    After(Cursor),
    /// Nothing.
    End,
}

/// Answers with a download of at most `limit` events. The first page is read
/// before, so that a query that cannot be answered is an error and no file.
///
/// # Errors
/// As for a search.
pub(super) async fn start(
    app: App,
    who: Principal,
    query: Query,
    after: Option<Cursor>,
    limit: usize,
    format: Format,
) -> Result<Response, Problem> {
    let first = app.hub.search(&who, query.clone(), limit.min(MAX_PAGE_EVENTS), after).await?;
    let (kind, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8; header=present", "events.csv"),
        Format::Json | Format::Ndjson => ("application/x-ndjson", "events.ndjson"),
    };
    let progress = Progress { app, who, query, format, left: limit, next: Next::Page(first) };
    let head = match format {
        Format::Csv => {
            let mut header = String::new();
            csv::write_header(&mut header);
            header
        }
        Format::Json | Format::Ndjson => String::new(),
    };
    let head = stream::iter([Ok(Bytes::from(head))]);
    let pages = stream::try_unfold(progress, |progress| async move { progress.step().await });
    let body = Body::from_stream(futures_util::StreamExt::chain(head, pages));
    let disposition = format!("attachment; filename=\"palisade-{name}\"");
    let headers =
        [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, body).into_response())
}

impl Progress {
    /// The next piece. A failure breaks the connection off, so that half a
    /// file is not taken for a whole one.
    async fn step(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let page = match std::mem::replace(&mut self.next, Next::End) {
            Next::Page(page) => page,
            Next::End => return Ok(None),
            Next::After(cursor) => {
                let limit = self.left.min(MAX_PAGE_EVENTS);
                let query = self.query.clone();
                let found = self.app.hub.search(&self.who, query, limit, Some(cursor)).await;
                found.map_err(|error| {
                    tracing::error!(%error, "export broken off");
                    io::Error::other(error)
                })?
            }
        };
        let mut text = String::new();
        for event in &page.events {
            match self.format {
                Format::Csv => csv::write(&mut text, event),
                Format::Json | Format::Ndjson => {
                    let json = palisade_event::wire::encode_event(event);
                    let _ = writeln!(text, "{}", String::from_utf8_lossy(&json));
                }
            }
        }
        self.left = self.left.saturating_sub(page.events.len());
        self.next = match page.next {
            Some(cursor) if self.left > 0 => Next::After(cursor),
            _ => Next::End,
        };
        Ok(Some((text.into(), self)))
    }
}
