//! The PEBA query API of the real binary, asked by curl(1).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use crate::support;

use std::process::Command;

use support::*;

fn curl(args: &[&str]) -> String {
    let output =
        Command::new("curl").args(["-sk", "--max-time", "20"]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_counts_alerts_and_lists_addresses() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("auth.log");
    for port in [40022, 40023] {
        append(
            &log,
            &sshd_line(&format!("Failed password for root from 8.8.8.8 port {port} ssh2")),
        );
    }
    append(&log, &sshd_line("Failed password for root from 192.168.7.7 port 40024 ssh2"));
    let palisade = Palisade::up(home.path());
    let args = ["user", "add", "anna-ews", "--ews", "--token-stdin"];
    let added = cli_with_input(home.path(), &args, "a-long-token-of-anna");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    palisade.wait_count("kind:auth.attempted", 3);

    let base = format!("http://{}", palisade.http_api());
    let count = format!("{base}/alert/retrieveAlertsCount?time=60");
    assert_eq!(
        curl(&[&count]),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<EWSSimpleIPInfo>\n  \
         <AlertCount>0</AlertCount>\n</EWSSimpleIPInfo>\n"
    );
    let private = format!("{count}&ci=0&out=json");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", &private]), "401");
    let user = ["-u", "anna-ews:a-long-token-of-anna"];
    assert_eq!(curl(&[user[0], user[1], &private]), r#"{"AlertCount":3}"#);
    let types = format!("{base}/alert/retrieveAlertsCountWithType?time=day&ci=-1");
    assert!(curl(&[user[0], user[1], &types]).starts_with(r#"{"AlertCountTotal":3,"#));
    assert_eq!(curl(&[&format!("{base}/alert/tops")]), "Nope");

    let message = "<EWS-SimpleMessage><Authentication><username>anna-ews</username>\
                   <token>a-long-token-of-anna</token></Authentication></EWS-SimpleMessage>";
    let addresses = format!("{base}/ews-0.1/alert/retrieveIPs?ci=0&out=json");
    assert_eq!(curl(&["--data", message, &addresses]), r#"[{"ip":"8.8.8.8","count":2}]"#);
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", "-d", "x", &addresses]), "403");
    let single = format!("{base}/alert/querySingleIP?ci=0&ip=8.8.8.8");
    let single = curl(&["--data", message, &single]);
    assert!(single.contains("Username: &quot;root&quot;"), "{single}");
    assert_eq!(palisade.terminate(), Some(0));
}
