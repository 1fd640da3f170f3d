//! The report as a page that stands alone: no script, nothing fetched, readable in
//! the dark and on paper.

use std::fmt::Write as _;

use palisade_agent::audit::{Catalogue, Finding, Report, Verdict};

use super::{coverage, shown};

/// Checks named under "do these first".
const FIRST: usize = 8;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::from(HEAD);
    let host = escaped(&report.host);
    let score = report.score();
    let class = match score {
        Some(80..) => "good",
        Some(50..80) => "fair",
        _ => "bad",
    };
    // The circle has a circumference of 100, so that the score is its length.
    let _ = write!(
        page,
        "<header><svg viewBox='0 0 36 36' class={class} role=img aria-label='Score {0}'><circle cx=18 cy=18 r=15.9155 class=track></circle><circle cx=18 cy=18 r=15.9155 class=value stroke-dasharray='{1} 100'></circle><text x=18 y=21.5>{0}</text></svg><div><h1>{host}</h1><p class=sub>{2} · {3}</p><p>{4}</p></div></header><main>",
        score.map_or_else(|| "–".to_owned(), |score| score.to_string()),
        score.unwrap_or(0),
        escaped(&report.system),
        report.at,
        escaped(&coverage(report)),
    );
    let failures = report.failures();
    if failures.is_empty() {
        page.push_str("<section><h2>Do these first</h2><p>No check fails.</p></section>");
    } else {
        page.push_str("<section><h2>Do these first</h2><ol class=first>");
        for finding in failures.iter().take(FIRST) {
            let check = &finding.check;
            let _ = write!(
                page,
                "<li><h3>{} {}</h3><p>{}</p><p class=seen>Seen: {}</p><p class=fix>{}</p></li>",
                escaped(&check.title),
                badge(finding),
                escaped(&check.why),
                escaped(finding.verdict.evidence()),
                escaped(&check.fix),
            );
        }
        page.push_str("</ol></section>");
    }
    section(&mut page, report, "Fails", "open", |v| matches!(v, Verdict::Fail(_)));
    section(&mut page, report, "Cannot be judged", "", |v| matches!(v, Verdict::NotJudged(_)));
    section(&mut page, report, "Passes", "", |v| matches!(v, Verdict::Pass(_)));
    section(&mut page, report, "Does not apply", "", |v| matches!(v, Verdict::NotApplicable(_)));
    let _ = write!(
        page,
        "</main><footer>Palisade audit, catalogue {}, {} checks in {} ms. The score is the weight of the checks that pass among those that could be judged: low 1, medium 3, high 6, critical 10.</footer></html>",
        Catalogue::VERSION,
        report.findings.len(),
        report.took.as_millis(),
    );
    page
}

fn section(page: &mut String, report: &Report, title: &str, open: &str, is: fn(&Verdict) -> bool) {
    let findings: Vec<&Finding> = report.findings.iter().filter(|f| is(&f.verdict)).collect();
    if findings.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "<details {open}><summary><h2>{title}</h2> <span class=count>{}</span></summary>",
        findings.len()
    );
    let mut area = "";
    for finding in &findings {
        let check = &finding.check;
        if check.area != area {
            if !area.is_empty() {
                page.push_str("</ul>");
            }
            area = check.area;
            let _ = write!(page, "<h3 class=area>{area}</h3><ul>");
        }
        let references = match check.references.is_empty() {
            true => String::new(),
            false => format!(" · {}", check.references.join("; ")),
        };
        let _ = write!(
            page,
            "<li id='{}'>{} <b>{}</b><p class=seen>{}</p>",
            escaped(&check.id),
            badge(finding),
            escaped(&check.title),
            escaped(finding.verdict.evidence()),
        );
        if is_open(&finding.verdict) {
            let (why, fix) = (escaped(&check.why), escaped(&check.fix));
            let _ = write!(page, "<p>{why}</p><p class=fix>{fix}</p>");
        }
        let _ =
            write!(page, "<p class=sub>{}{}</p></li>", escaped(&check.id), escaped(&references));
    }
    page.push_str("</ul></details>");
}

fn is_open(verdict: &Verdict) -> bool {
    super::is_open(verdict)
}

fn badge(finding: &Finding) -> String {
    let severity = finding.check.severity.as_str();
    let class = if is_open(&finding.verdict) { severity } else { "quiet" };
    format!("<span class='badge {class}'>{severity}</span>")
}

/// Text that may come from files of the machine.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

const HEAD: &str = concat!(
    "<!doctype html><html lang=en><meta charset=utf-8>",
    "<meta name=viewport content='width=device-width,initial-scale=1'>",
    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">",
    "<title>Palisade audit</title><style>",
    ":root{--ink:#1d2430;--soft:#57606f;--line:#d8dde5;--page:#f6f7f9;--card:#fff;--bad:#a3142b;--warn:#8a5200;--good:#176639;--track:#e3e7ed}",
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e8ef;--soft:#9aa5b5;--line:#2c3442;--page:#12161d;--card:#1a202a;--bad:#ff8095;--warn:#f0b45a;--good:#66d08f;--track:#2c3442}}",
    "*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1.5rem 1rem 3rem;color:var(--ink);background:var(--page)}",
    "header{display:flex;gap:1.5rem;align-items:center;margin-bottom:1.5rem}header svg{width:7rem;flex:none}h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:0;display:inline}h3{font-size:1rem;margin:0}",
    "p{margin:.25rem 0}.sub,.seen{color:var(--soft);font-size:.875rem;overflow-wrap:anywhere}.seen{font-family:ui-monospace,monospace;font-size:.8125rem}",
    "circle{fill:none;stroke-width:3.2}.track{stroke:var(--track)}.value{stroke:currentColor;stroke-linecap:round;transform:rotate(-90deg);transform-origin:50% 50%}svg text{font:700 10px system-ui,sans-serif;text-anchor:middle;fill:currentColor}",
    ".good{color:var(--good)}.fair{color:var(--warn)}.bad{color:var(--bad)}",
    "section,details{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem 1.25rem;margin-bottom:1rem}summary{cursor:pointer}.count{color:var(--soft);font-variant-numeric:tabular-nums}",
    "ol.first{padding-left:1.25rem;margin:.75rem 0 0}ol.first li{margin-bottom:1rem}ul{list-style:none;margin:0;padding:0}ul li{padding:.6rem 0;border-top:1px solid var(--line)}",
    ".area{margin:1.1rem 0 .3rem;text-transform:capitalize;color:var(--soft)}.fix{border-left:3px solid var(--good);padding-left:.6rem;overflow-wrap:anywhere}",
    ".badge{display:inline-block;font-size:.75rem;font-weight:600;border:1px solid currentColor;border-radius:1rem;padding:0 .5rem;vertical-align:.1em}.critical,.high{color:var(--bad)}.medium{color:var(--warn)}.low,.quiet{color:var(--soft)}",
    "footer{color:var(--soft);font-size:.875rem}@media(max-width:30rem){header{gap:1rem}header svg{width:5rem}}@media print{body{background:none}details{break-inside:avoid}}",
    "</style>"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_the_machine_stays_text() {
        assert_eq!(escaped("<script>&\"'"), "&lt;script&gt;&amp;&quot;&#39;");
        assert_eq!(escaped("a\u{202e}b"), "a\\u{202e}b");
    }
}
