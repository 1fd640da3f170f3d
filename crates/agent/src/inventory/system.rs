//! The machine as a whole: names, system, processor, memory, virtualisation.

use serde_json::{Value, json};

use super::accounts;
use super::interfaces;
use super::root::Root;
use super::sample::{Sample, gigabytes};
use super::section::Section;

/// The section `system`: one object, its upper names those of Glimpse.
pub(crate) fn collect(root: &Root, sample: &Sample) -> Section {
    let mut section = Section::default();
    let line = |path: &str| root.read_value(path).unwrap_or_default();
    let release = root.read("/etc/os-release").or_else(|_| root.read("/usr/lib/os-release"));
    let release = release.unwrap_or_default();
    let os = |key: &str| {
        let mut pairs = release.lines().filter_map(|line| line.split_once('='));
        let value = pairs.find(|(own, _)| *own == key).map(|(_, value)| value);
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let uname = rustix::system::uname();
    let machine = uname.machine().to_string_lossy().into_owned();
    let processor = processor(root);
    let kernel = line("/proc/sys/kernel/osrelease");
    let boot_time = sample.boot_time_secs.map(|secs| secs.saturating_mul(1000));
    let addresses: Vec<String> = interfaces::addresses()
        .into_iter()
        .filter(|(name, _)| name != "lo")
        .map(|(_, address)| address.split('/').next().unwrap_or_default().to_owned())
        .filter(|address| !address.starts_with("fe80:"))
        .take(64)
        .collect();
    let value = json!({
        "hostname": line("/proc/sys/kernel/hostname"),
        "cpu": {
            "usage": sample.cpu_pct,
            "p_cores": processor.cores,
            "t_cores": sample.cpus,
            "max_freq": processor.max_mhz,
            "cur_freq": sample.cpu_mhz,
            "model": processor.model,
        },
        "mem": { "total": sample.mem_total, "used": sample.mem_used, "available": sample.mem_available },
        "swap": { "total": sample.swap_total, "used": sample.swap_used },
        "uptime": sample.uptime_secs,
        "specs": {
            "system": "Linux",
            "release": kernel,
            "version": line("/proc/sys/kernel/version"),
            "machine": machine,
            "processor": processor.model,
        },
        "network": {
            "sent": sample.net_sent.map(gigabytes),
            "recv": sample.net_recv.map(gigabytes),
        },
        "disk": {
            "total": sample.disk_total.map(gigabytes),
            "used": sample.disk_used.map(gigabytes),
            "free": sample.disk_total.zip(sample.disk_used).map(|(t, u)| gigabytes(t.saturating_sub(u))),
        },
        "os": {
            "id": os("ID"),
            "version": os("VERSION_ID"),
            "name": os("PRETTY_NAME"),
            "like": os("ID_LIKE"),
        },
        "boot_time": boot_time,
        "boot_id": line("/proc/sys/kernel/random/boot_id"),
        "machine_id": line("/etc/machine-id"),
        "virtualisation": virtualisation(root),
        "load": [sample.load1, sample.load5, sample.load15],
        "timezone": timezone(root),
        "addresses": addresses,
        "agent": env!("CARGO_PKG_VERSION"),
        "root": rustix::process::geteuid().is_root(),
    });
    section.add("system", value);
    if let Err(reason) = accounts::Accounts::read(root) {
        section.could_not("accounts", &reason);
    }
    section
}

struct Processor {
    model: String,
    cores: Option<u64>,
    max_mhz: Option<u64>,
}

fn processor(root: &Root) -> Processor {
    let text = root.read("/proc/cpuinfo").unwrap_or_default();
    let fields = || text.lines().filter_map(|line| line.split_once(':'));
    let field = |name: &str| {
        fields().find(|(own, _)| own.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    // A core is a pair of socket and core; where they are not told, every
    // processor is one.
    let mut pairs = std::collections::BTreeSet::new();
    let mut socket = String::new();
    for (name, value) in fields() {
        match name.trim() {
            "physical id" => value.trim().clone_into(&mut socket),
            "core id" => {
                pairs.insert((socket.clone(), value.trim().to_owned()));
            }
            _ => {}
        }
    }
    let count = if pairs.is_empty() {
        fields().filter(|(name, _)| name.trim() == "processor").count()
    } else {
        pairs.len()
    };
    let khz = root.read_value("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    let khz = khz.ok().and_then(|text| text.parse::<u64>().ok());
    let now = field("cpu MHz").and_then(|text| text.parse::<f64>().ok());
    Processor {
        model: field("model name").or_else(|| field("Model")).unwrap_or_default(),
        cores: (count > 0).then_some(count as u64),
        max_mhz: khz.map(|khz| khz / 1000).or_else(|| now.map(|mhz| mhz as u64)),
    }
}

/// What the machine is inside of: `none` where it is its own.
fn virtualisation(root: &Root) -> Value {
    let container = root.read_value("/run/systemd/container").ok().filter(|name| !name.is_empty());
    if let Some(name) = container {
        return json!(name);
    }
    for (path, name) in [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")] {
        if root.exists(path) {
            return json!(name);
        }
    }
    let vendor = root.read_value("/sys/class/dmi/id/sys_vendor").unwrap_or_default();
    let product = root.read_value("/sys/class/dmi/id/product_name").unwrap_or_default();
    let known = [
        ("QEMU", "kvm"),
        ("Amazon EC2", "amazon"),
        ("Google", "google"),
        ("VMware", "vmware"),
        ("innotek", "virtualbox"),
        ("Xen", "xen"),
        ("Microsoft Corporation", "hyper-v"),
        ("Parallels", "parallels"),
        ("BHYVE", "bhyve"),
        ("Hetzner", "kvm"),
        ("DigitalOcean", "kvm"),
        ("OpenStack", "kvm"),
    ];
    let named = known.iter().find(|(mark, name)| {
        let is = vendor.contains(mark) || product.contains(mark);
        // Microsoft makes real machines too.
        is && (*name != "hyper-v" || product.contains("Virtual"))
    });
    if let Some((_, name)) = named {
        return json!(name);
    }
    let flags = root.read("/proc/cpuinfo").unwrap_or_default();
    let guest = flags.lines().any(|line| {
        line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor")
    });
    json!(if guest { "unknown" } else { "none" })
}

fn timezone(root: &Root) -> String {
    let link = root.link_target("/etc/localtime").unwrap_or_default();
    match link.split_once("zoneinfo/") {
        Some((_, name)) => name.to_owned(),
        None => root.read_value("/etc/timezone").unwrap_or_else(|_| "UTC".to_owned()),
    }
}
