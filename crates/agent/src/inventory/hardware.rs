//! Disks that are mounted, and devices on the buses USB and PCI.

use serde_json::json;

use super::mounts;
use super::root::{Root, Unseen};
use super::sample;
use super::section::Section;

/// Most devices of both buses.
const MAX_DEVICES: usize = 1_000;

/// The section `disks`: mounted file systems of local disks.
pub(crate) fn disks(root: &Root) -> Section {
    let mut section = Section::default();
    let mounts = match mounts::read_own(root) {
        Ok(mounts) => mounts,
        Err(reason) => return Section::hidden("mounted file systems", &reason),
    };
    for mount in &mounts {
        // A file system of another machine may not answer for ever.
        let used = mounts::is_local_disk(mount).then(|| sample::disk_use(&mount.path)).flatten();
        if used.is_none() && !mount.device.contains(['/', ':']) {
            continue;
        }
        let value = json!({
            "device": mount.device,
            "mount": mount.path,
            "type": mount.kind,
            "options": mount.options.join(","),
            "total": used.as_ref().map(|disk| disk.total),
            "used": used.as_ref().map(|disk| disk.used),
            "free": used.as_ref().map(|disk| disk.free),
            "inodes_total": used.as_ref().map(|disk| disk.inodes_total),
            "inodes_used": used.as_ref().map(|disk| disk.inodes_used),
        });
        section.entries.retain(|known| known.key != mount.path);
        section.add_up_to(mounts::MAX_MOUNTS, mount.path.clone(), value);
    }
    section
}

/// The section `devices`: what is on the buses USB and PCI.
pub(crate) fn devices(root: &Root) -> Section {
    let mut section = Section::default();
    for (bus, vendor, product) in [("usb", "idVendor", "idProduct"), ("pci", "vendor", "device")] {
        let folder = format!("/sys/bus/{bus}/devices");
        let places = match root.list(&folder) {
            Ok((places, _)) => places,
            // A machine without that bus.
            Err(Unseen::Missing) => continue,
            Err(reason) => {
                section.could_not(&format!("devices of {bus}"), &reason);
                continue;
            }
        };
        for (place, _) in places {
            let read = |file: &str| root.read_value(&format!("{folder}/{place}/{file}")).ok();
            // Interfaces of USB stand beside their devices, without ids of their own.
            let (Some(vendor), Some(product)) = (read(vendor), read(product)) else { continue };
            let plain = |id: &str| id.trim_start_matches("0x").to_owned();
            let driver = root.link_target(&format!("{folder}/{place}/driver")).ok();
            let driver = driver.and_then(|path| path.rsplit('/').next().map(str::to_owned));
            let names = [read("manufacturer"), read("product")];
            let name: Vec<String> = names.into_iter().flatten().collect();
            let value = json!({
                "bus": bus,
                "id": format!("{}:{}", plain(&vendor), plain(&product)),
                "place": place,
                "name": name.join(" "),
                "class": read(if bus == "usb" { "bDeviceClass" } else { "class" }),
                "driver": driver,
            });
            section.add_up_to(MAX_DEVICES, format!("{bus} {place}"), value);
        }
    }
    section
}
