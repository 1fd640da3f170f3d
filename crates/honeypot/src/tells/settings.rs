//! What needs no try: ports, names, and what stands beside each other.

use std::net::SocketAddr;

use super::{Finding, Subject, Tell, known_name};
use crate::session::Zone;
use crate::{Config, ServiceConfig, ServiceKind};

/// Where all of it belongs to.
const PLACE: &str = "installation";
/// Ports that honeypots listen on where nobody has changed them.
const KNOWN_PORTS: [u16; 4] = [2222, 2223, 2323, 8081];

const PORT: Subject = Subject {
    id: "port",
    looks_at: "whether the service is where real ones are",
    known_from: "Cowrie on 2222 and 2223; Shodan and Censys list SSH by port",
    advice: "listen on 22, 23 or 80, or have the firewall redirect them to a port of 127.0.0.1",
};
const NAME: Subject = Subject {
    id: "host-name",
    looks_at: "the host names that are shown",
    known_from: "svr04 and nas3 are Cowrie's; some call their honeypot honeypot",
    advice: "set honeypot.persona.hostname to a name that your other machines could have, or leave it out",
};
const SEED: Subject = Subject {
    id: "persona-seed",
    looks_at: "whether two addresses show the same machine: name, disks, keys, uptime",
    known_from: "who scans many networks and compares; Cowrie's are the same in every installation",
    advice: "remove honeypot.persona.seed from the settings: one is drawn and kept for each installation",
};
const TOGETHER: Subject = Subject {
    id: "contradicting-services",
    looks_at: "whether the services of one address can be one machine's",
    known_from: "OpenCanary and T-Pot: Debian, Ubuntu, Cisco and Windows behind one address",
    advice: "give the device and the server an address each, leave the services of one of them out, or leave honeypot.persona.gateway unset",
};

fn usual(kind: ServiceKind) -> &'static [u16] {
    match kind {
        ServiceKind::Ssh => &[22],
        ServiceKind::Telnet => &[23],
        ServiceKind::Http => &[80, 443, 8080, 8443],
        ServiceKind::Tcp | ServiceKind::Udp | ServiceKind::CatchAll | ServiceKind::Plugin => &[],
    }
}

/// `written` is the seed that stands in the settings.
pub(super) fn look_at(config: &Config, written: Option<u64>, zone: &Zone, tells: &mut Vec<Tell>) {
    for service in &config.services {
        let place = format!("{} on {}", service.kind, service.listen);
        if !usual(service.kind).is_empty() {
            tells.push(PORT.tell(&place, port(service)));
        }
    }
    let names = [zone.device.hostname(), zone.server.hostname(), &zone.persona.hostname];
    let found = match names.iter().find_map(|name| known_name(name)) {
        Some(known) => Finding::shown(format!("{}: {known}", names.join(", "))),
        None => Finding::hidden(names.join(", ")),
    };
    tells.push(NAME.tell(PLACE, found));
    let own = match written {
        Some(seed) => Finding::shown(format!("{seed}, from the settings")),
        None => Finding::hidden("drawn for this installation"),
    };
    tells.push(SEED.tell(PLACE, own));
    tells.push(TOGETHER.tell(PLACE, together(config, zone)));
}

fn port(service: &ServiceConfig) -> Finding {
    let unusual = |address: &SocketAddr| !usual(service.kind).contains(&address.port());
    let odd = service.listen.addresses().find(unusual);
    let Some(place) = odd.or_else(|| service.listen.addresses().next()) else {
        return Finding::skipped("no port");
    };
    let (port, address) = (place.port(), place.ip());
    if usual(service.kind).contains(&port) {
        return Finding::hidden(format!("{port}, as real ones"));
    }
    if port == 0 {
        return Finding::skipped("a port that the system chooses");
    }
    if address.is_loopback() {
        return Finding::skipped(format!(
            "{port} on this machine alone: strangers come by a redirect, or not at all"
        ));
    }
    if KNOWN_PORTS.contains(&port) {
        return Finding::shown(format!("{port}, a port that honeypots are known by"));
    }
    Finding::shown(format!("{port}, where nobody has this service"))
}

/// Whether one address has services of the device and of the server, which only
/// a gateway in front of a server can have.
fn together(config: &Config, zone: &Zone) -> Finding {
    let (product, system) = (zone.persona.product, &zone.server.machine.pretty);
    if !config.mixes_machines() {
        return Finding::hidden("each address has the services of one machine");
    }
    let gateway = ["Router", "Access Point"].iter().any(|kind| product.contains(kind));
    let seen = format!("{product} with BusyBox, and {system}");
    if gateway {
        return Finding::hidden(format!("{seen}: a gateway that passes SSH on"));
    }
    Finding::shown(seen)
}
