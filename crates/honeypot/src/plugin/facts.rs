//! What scripts are told of the made-up machine, and the number their stable
//! answers are drawn from.

use crate::persona::{Draw, System, hash};
use crate::session::Zone;

/// The made-up machine as scripts see it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) hostname: String,
    pub(crate) domain: String,
    pub(crate) system: &'static str,
    pub(crate) pretty: String,
    pub(crate) kernel: String,
    pub(crate) arch: &'static str,
    pub(crate) mac: String,
    pub(crate) address: String,
    pub(crate) installed: i64,
    pub(crate) users: Vec<String>,
    /// Host name, product, model and firmware of the small device.
    pub(crate) device: [(&'static str, String); 4],
    seed: u64,
}

/// User numbers of people begin here, on Debian and its kin.
const FIRST_PERSON: u32 = 1_000;
/// `nobody`, who is no person.
const NOBODY: u32 = 65_534;

impl Facts {
    pub(crate) fn of(zone: &Zone) -> Self {
        let machine = &zone.server.machine;
        let persona = &zone.persona;
        let people = machine
            .users
            .iter()
            .filter(|user| user.uid == 0 || (FIRST_PERSON..NOBODY).contains(&user.uid));
        Self {
            hostname: machine.hostname.clone(),
            domain: machine.domain.clone(),
            system: match machine.system {
                System::Debian => "debian12",
                System::Ubuntu => "ubuntu2204",
                System::BusyBox => "busybox",
            },
            pretty: machine.pretty.clone(),
            kernel: machine.kernel.clone(),
            arch: machine.arch,
            mac: machine.mac.clone(),
            address: machine.address.to_string(),
            installed: machine.installed,
            users: people.map(|user| user.name.clone()).collect(),
            device: [
                ("hostname", persona.hostname.clone()),
                ("product", persona.product.to_owned()),
                ("model", persona.model.clone()),
                ("firmware", persona.firmware.clone()),
            ],
            seed: persona.seed,
        }
    }

    /// The draw that belongs to a name of a plug-in: always the same.
    pub(crate) fn draw(&self, plugin: &str, name: &[u8]) -> Draw {
        Draw(self.seed ^ hash(plugin.as_bytes()).rotate_left(17) ^ hash(name))
    }
}
