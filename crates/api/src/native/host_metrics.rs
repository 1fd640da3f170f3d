//! Metrics of the machines that tell of themselves, and of today's attacks, in the
//! OpenMetrics text format. Where something means the same, it has the name that
//! Prometheus' node_exporter gives it, so that dashboards fit; the label `host` says
//! which machine.

use std::fmt::Write as _;

use palisade_event::Timestamp;
use palisade_hub::HostInfo;
use serde_json::Value;

/// Most machines that are shown: a thousand of them are 25,000 lines.
const MAX_SHOWN: usize = 1_000;
/// Most categories or countries.
const MAX_COUNTED: usize = 50;

/// What is counted of today's attacks: values with their number.
pub(super) type Counts = Vec<(String, u64)>;

/// A family: its name, its type, what it is, and its value of a machine.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&HostInfo) -> Option<f64>,
}

fn number(host: &HostInfo, name: &str) -> Option<f64> {
    // What a silent machine said last is not how it is.
    let sample = host.sample.as_ref().filter(|_| host.silent_since.is_none())?;
    sample.get(name).and_then(Value::as_f64).filter(|number| number.is_finite())
}

fn secs(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

const FAMILIES: &[Family] = &[
    Family {
        name: "palisade_host_up",
        kind: "gauge",
        help: "Whether the machine is heard",
        value: |host| Some(if host.silent_since.is_none() { 1.0 } else { 0.0 }),
    },
    Family {
        name: "palisade_host_last_seen_timestamp_seconds",
        kind: "gauge",
        help: "When the machine was last heard",
        value: |host| Some(secs(host.last_seen)),
    },
    Family {
        name: "palisade_host_alerts",
        kind: "gauge",
        help: "How much is wrong with the machine now",
        value: |host| Some(host.alerts as f64),
    },
    Family {
        name: "palisade_host_audit_score",
        kind: "gauge",
        help: "Score of the last audit, 0 to 100",
        value: |host| host.score.map(|score| score as f64),
    },
    Family {
        name: "palisade_host_attacks_today",
        kind: "gauge",
        help: "Attacks on the machine since midnight UTC",
        value: |host| Some(host.attacks_today as f64),
    },
    Family {
        name: "palisade_host_cpu_percent",
        kind: "gauge",
        help: "How busy the processors are",
        value: |host| number(host, "cpu_pct"),
    },
    Family {
        name: "node_load1",
        kind: "gauge",
        help: "Mean load of a minute",
        value: |host| number(host, "load1"),
    },
    Family {
        name: "node_load5",
        kind: "gauge",
        help: "Mean load of five minutes",
        value: |host| number(host, "load5"),
    },
    Family {
        name: "node_load15",
        kind: "gauge",
        help: "Mean load of fifteen minutes",
        value: |host| number(host, "load15"),
    },
    Family {
        name: "node_memory_MemTotal_bytes",
        kind: "gauge",
        help: "Memory",
        value: |host| number(host, "mem_total"),
    },
    Family {
        name: "node_memory_MemAvailable_bytes",
        kind: "gauge",
        help: "Memory that programs could have",
        value: |host| number(host, "mem_available"),
    },
    Family {
        name: "node_memory_SwapTotal_bytes",
        kind: "gauge",
        help: "Swap space",
        value: |host| number(host, "swap_total"),
    },
    Family {
        name: "node_memory_SwapFree_bytes",
        kind: "gauge",
        help: "Swap space that is free",
        value: |host| Some(number(host, "swap_total")? - number(host, "swap_used")?),
    },
    Family {
        name: "node_boot_time_seconds",
        kind: "gauge",
        help: "When the machine was started",
        value: |host| Some(secs(host.sample_at?) - number(host, "uptime_secs")?),
    },
    Family {
        name: "node_netstat_Tcp_CurrEstab",
        kind: "gauge",
        help: "TCP connections",
        value: |host| number(host, "tcp_established"),
    },
    Family {
        name: "palisade_host_processes",
        kind: "gauge",
        help: "Processes",
        value: |host| number(host, "processes"),
    },
    Family {
        name: "palisade_host_disk_worst_percent",
        kind: "gauge",
        help: "How full the fullest file system is",
        value: |host| number(host, "disk_worst_pct"),
    },
    Family {
        name: "palisade_host_network_receive_bytes",
        kind: "counter",
        help: "Bytes received on all interfaces since the machine was started",
        value: |host| number(host, "net_recv"),
    },
    Family {
        name: "palisade_host_network_transmit_bytes",
        kind: "counter",
        help: "Bytes sent on all interfaces since the machine was started",
        value: |host| number(host, "net_sent"),
    },
    Family {
        name: "palisade_host_disk_read_bytes",
        kind: "counter",
        help: "Bytes read from all disks since the machine was started",
        value: |host| number(host, "disk_read"),
    },
    Family {
        name: "palisade_host_disk_written_bytes",
        kind: "counter",
        help: "Bytes written to all disks since the machine was started",
        value: |host| number(host, "disk_written"),
    },
];

/// Writes the families, without an end mark.
pub(super) fn text(hosts: &[HostInfo]) -> String {
    let shown = hosts.get(..MAX_SHOWN.min(hosts.len())).unwrap_or_default();
    let mut out = String::new();
    for family in FAMILIES {
        head(&mut out, family.name, family.kind, family.help);
        let suffix = if family.kind == "counter" { "_total" } else { "" };
        for host in shown {
            if let Some(value) = (family.value)(host) {
                let label = escaped(&host.id);
                let _ = writeln!(out, "{}{suffix}{{host=\"{label}\"}} {value}", family.name);
            }
        }
    }
    filesystem(&mut out, shown);
    head(&mut out, "node_uname_info", "gauge", "What the machine calls itself, and its system");
    for host in shown {
        let [id, name, os] = [
            escaped(&host.id),
            escaped(host.name.as_deref().unwrap_or_default()),
            escaped(host.os.as_deref().unwrap_or_default()),
        ];
        let _ = writeln!(out, "node_uname_info{{host=\"{id}\",nodename=\"{name}\",os=\"{os}\"}} 1");
    }
    let left_out = hosts.len() - shown.len();
    head(&mut out, "palisade_hosts", "gauge", "Machines that tell of themselves");
    let _ = writeln!(out, "palisade_hosts {}", hosts.len());
    head(&mut out, "palisade_hosts_not_shown", "gauge", "Machines without metrics here");
    let _ = writeln!(out, "palisade_hosts_not_shown {left_out}");
    out
}

/// The file system of `/`.
fn filesystem(out: &mut String, hosts: &[HostInfo]) {
    let free = |host: &HostInfo| Some(number(host, "disk_total")? - number(host, "disk_used")?);
    let size = |host: &HostInfo| number(host, "disk_total");
    type Of<'a> = &'a dyn Fn(&HostInfo) -> Option<f64>;
    let families: [(&str, &str, Of<'_>); 2] = [
        ("node_filesystem_size_bytes", "Size of the file system", &size),
        ("node_filesystem_free_bytes", "What of it is free", &free),
    ];
    for (name, help, value) in families {
        head(out, name, "gauge", help);
        for host in hosts {
            if let Some(value) = value(host) {
                let label = escaped(&host.id);
                let _ = writeln!(out, "{name}{{host=\"{label}\",mountpoint=\"/\"}} {value}");
            }
        }
    }
}

/// Today's attacks by type and by country.
pub(super) fn attacks(categories: &Counts, countries: &Counts) -> String {
    let mut out = String::new();
    for (name, label, help, counts) in [
        ("palisade_attacks_today", "category", "Attacks since midnight UTC by type", categories),
        (
            "palisade_attacks_today_by_country",
            "country",
            "Attacks since midnight UTC by country, those with most",
            countries,
        ),
    ] {
        head(&mut out, name, "gauge", help);
        for (value, count) in counts.iter().take(MAX_COUNTED) {
            let _ = writeln!(out, "{name}{{{label}=\"{}\"}} {count}", escaped(value));
        }
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a text cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}");
}

/// A value of a label.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use palisade_event::SensorId;
    use palisade_hub::HostSource;
    use serde_json::json;

    use super::*;

    fn host(id: &str) -> HostInfo {
        let at = Timestamp::from_millis(1_790_000_000_000);
        HostInfo {
            id: id.into(),
            sensor: SensorId::new("a").unwrap(),
            source: HostSource::Agent,
            name: Some("we\"b\n".into()),
            former_name: None,
            name_shared: false,
            address: None,
            os: None,
            state: "ok",
            alerts: 1,
            score: Some(88),
            audited_at: None,
            sample: Some(json!({"cpu_pct": 12.5, "mem_total": 1000, "swap_total": 10,
                "swap_used": 4, "uptime_secs": 1000, "disk_total": 9, "disk_used": 4,
                "net_recv": 7})),
            sample_at: Some(at),
            attacks_today: 3,
            first_seen: at,
            last_seen: at,
            silent_since: None,
        }
    }

    #[test]
    fn numbers_have_the_names_of_node_exporter_where_they_mean_the_same() {
        let text = text(&[host("web-1")]);
        for line in [
            "palisade_host_up{host=\"web-1\"} 1",
            "palisade_host_cpu_percent{host=\"web-1\"} 12.5",
            "node_memory_MemTotal_bytes{host=\"web-1\"} 1000",
            "node_memory_SwapFree_bytes{host=\"web-1\"} 6",
            "node_filesystem_free_bytes{host=\"web-1\",mountpoint=\"/\"} 5",
            "node_boot_time_seconds{host=\"web-1\"} 1789999000",
            "palisade_host_network_receive_bytes_total{host=\"web-1\"} 7",
            "node_uname_info{host=\"web-1\",nodename=\"we\\\"b\\n\",os=\"\"} 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        // What was not measured is not there.
        assert!(!text.contains("node_load1{"));
    }

    #[test]
    fn a_silent_machine_has_no_numbers() {
        let mut silent = host("web-1");
        silent.silent_since = Some(silent.last_seen);
        let text = text(&[silent]);
        assert!(text.contains("palisade_host_up{host=\"web-1\"} 0"));
        assert!(!text.contains("cpu_percent{"));
    }

    #[test]
    fn machines_beyond_the_bound_are_counted() {
        let many: Vec<HostInfo> = (0..MAX_SHOWN + 7).map(|n| host(&format!("h{n}"))).collect();
        let text = text(&many);
        assert!(text.contains("palisade_hosts_not_shown 7\n"));
        assert!(text.contains(&format!("palisade_hosts {}\n", many.len())));
    }
}
