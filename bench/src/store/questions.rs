//! What dashboards and analysts ask.

use palisade_event::Timestamp;
use palisade_hub::{Hub, Principal};
use palisade_store::Store;
use palisade_store::query::{Aggregation, Query};

use crate::generate::RARE;

/// What is wanted of the matching events.
#[derive(Clone)]
enum Want {
    /// Newest first.
    Newest(usize),
    /// Each of these, as a dashboard asks for several at once.
    Aggregations(Vec<Aggregation>),
}

/// One question, in one or several variants that are asked in turn.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) what: &'static str,
    pub(super) aim_ms: f64,
    /// Asked again and again by the page, the same each time.
    pub(super) dashboard: bool,
    texts: Vec<String>,
    want: Want,
}

impl Question {
    fn query(&self, n: usize, now: Timestamp) -> anyhow::Result<Query> {
        let text = self.texts.get(n % self.texts.len().max(1)).map_or("", String::as_str);
        Query::parse(text, now).map_err(|error| anyhow::anyhow!("{text}: {error}"))
    }

    /// Asks the store, variant `n`.
    pub(super) fn ask(&self, store: &Store, n: usize, now: Timestamp) -> anyhow::Result<()> {
        let query = self.query(n, now)?;
        match &self.want {
            Want::Newest(limit) => drop(store.search(&query, *limit, None)?),
            Want::Aggregations(all) => {
                for aggregation in all {
                    store.aggregate(&query, aggregation)?;
                }
            }
        }
        Ok(())
    }

    /// Asks the hub, variant `n`.
    pub(super) async fn ask_hub(
        &self,
        hub: &Hub,
        who: &Principal,
        n: usize,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let query = self.query(n, now)?;
        match &self.want {
            Want::Newest(limit) => drop(hub.search(who, query, *limit, None).await?),
            Want::Aggregations(all) => {
                for aggregation in all {
                    hub.aggregate(who, query.clone(), aggregation.clone()).await?;
                }
            }
        }
        Ok(())
    }
}

fn aggregations(forms: &[&str]) -> anyhow::Result<Want> {
    let all = forms.iter().map(|form| serde_json::from_str(form)).collect::<Result<_, _>>();
    Ok(Want::Aggregations(all?))
}

fn top(fields: &str, k: usize) -> String {
    format!(r#"{{"type":"top","fields":[{fields}],"k":{k}}}"#)
}

/// Addresses that were seen, some often and some rarely.
fn addresses(store: &Store, now: Timestamp) -> anyhow::Result<Vec<String>> {
    let query = Query::parse("since:30d kind:session.closed", now);
    let query = query.map_err(|error| anyhow::anyhow!("{error}"))?;
    let page = store.search(&query, 400, None)?;
    let all = page.events.iter().filter_map(|event| event.source.map(|end| end.address));
    Ok(all.step_by(17).take(20).map(|address| format!("ip:{address}")).collect())
}

/// Every question of the table.
pub(super) fn all(store: &Store, now: Timestamp) -> anyhow::Result<Vec<Question>> {
    let dashboard = |what, text: &str, want| Question {
        what,
        aim_ms: 10.0,
        dashboard: true,
        texts: vec![text.to_owned()],
        want,
    };
    let ask = |what, aim_ms, texts: Vec<String>, want| Question {
        what,
        aim_ms,
        dashboard: false,
        texts,
        want,
    };
    let yesterday = now.plus_millis(-86_400_000).day();
    let month = now.day().to_string().get(..7).unwrap_or_default().to_owned();
    let by_type = r#"{"type":"top","fields":["category"],"k":40}"#;
    let days_by_type =
        r#"{"type":"histogram","interval":"1d","sub":{"type":"top","fields":["category"],"k":10}}"#;
    let of_six_hours = |field: &str| {
        format!(
            r#"{{"type":"top","fields":["{field}"],"k":10,"sub":{{"type":"histogram","interval":"6h"}}}}"#
        )
    };
    let countries = ["CN", "US", "RU", "VN", "BR", "IN", "NL", "DE", "KR", "SG", "ID", "FR"];
    let users = ["root", "admin", "ubuntu", "user", "test", "oracle", "postgres", "git", "pi"];
    let filtered = |days: u32| {
        countries
            .iter()
            .map(|code| format!("country:{code} category:\"SSH/console(cowrie)\" since:{days}d"))
            .collect::<Vec<_>>()
    };
    Ok(vec![
        dashboard("day by type", "since:24h", aggregations(&[by_type])?),
        dashboard(
            "day by type, community",
            "since:24h domain:community",
            aggregations(&[by_type])?,
        ),
        dashboard("yesterday by type", &format!("day:{yesterday}"), aggregations(&[by_type])?),
        dashboard("30 days by type", "since:30d", aggregations(&[days_by_type])?),
        dashboard(
            "30 days by type, community",
            "since:30d domain:community",
            aggregations(&[days_by_type])?,
        ),
        dashboard("countries of 30 days", "since:30d", aggregations(&[&top("\"country\"", 100)])?),
        dashboard(
            "countries of the calendar month",
            &format!("month:{month}"),
            aggregations(&[&top("\"country\"", 100)])?,
        ),
        dashboard(
            "top 10 requests and ports of 7 days, each with histogram of 6 h",
            "since:7d",
            aggregations(&[&of_six_hours("request"), &of_six_hours("port")])?,
        ),
        dashboard("top 10 addresses of 24 h", "since:24h", aggregations(&[&top("\"ip\"", 10)])?),
        dashboard(
            "top 10 users and passwords of 24 h",
            "since:24h",
            aggregations(&[&top("\"user\",\"password\"", 10)])?,
        ),
        dashboard("lat/lon of 24 h", "since:24h", aggregations(&[&top("\"location\"", 500)])?),
        dashboard(
            "different addresses of 24 h",
            "since:24h",
            aggregations(&[r#"{"type":"distinct","field":"ip"}"#])?,
        ),
        ask(
            "country and type, top user and password, 7 days",
            150.0,
            filtered(7),
            aggregations(&[&top("\"user\",\"password\"", 10)])?,
        ),
        ask(
            "country and type, top user and password, 30 days",
            150.0,
            filtered(30),
            aggregations(&[&top("\"user\",\"password\"", 10)])?,
        ),
        ask(
            "one user, top addresses, 30 days",
            150.0,
            users.iter().map(|user| format!("user:{user} since:30d")).collect(),
            aggregations(&[&top("\"ip\"", 10)])?,
        ),
        ask(
            "country, port and outcome, count, 30 days",
            150.0,
            countries
                .iter()
                .map(|c| format!("country:{c} port:22 outcome:failed since:30d"))
                .collect(),
            aggregations(&[r#"{"type":"count"}"#])?,
        ),
        ask(
            "prefix of a password, top ports, 7 days",
            150.0,
            ["adm", "pass", "1234", "root", "back"]
                .map(|p| format!("password:{p}* since:7d"))
                .into(),
            aggregations(&[&top("\"port\"", 10)])?,
        ),
        ask("newest 1,000 of one address", 40.0, addresses(store, now)?, Want::Newest(1_000)),
        ask("newest 35", 5.0, vec![String::new()], Want::Newest(35)),
        ask(
            "newest 50 with a rare word, 30 days",
            30.0,
            RARE.iter().map(|word| format!("{word} since:30d")).collect(),
            Want::Newest(50),
        ),
        ask("newest 50 with the word wget", 30.0, vec!["wget".to_owned()], Want::Newest(50)),
        ask(
            "a word that nobody said, 30 days",
            30.0,
            vec!["nobodysaidthis since:30d".to_owned()],
            Want::Newest(50),
        ),
    ])
}
