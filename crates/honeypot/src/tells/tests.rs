use std::collections::BTreeSet;

use super::*;
use crate::{Accept, PersonaConfig, SshAccept, SshConfig, TelnetConfig};

/// A Thursday in January 2026.
const NOW: Timestamp = Timestamp::from_millis(1_767_871_234_000);

fn here() -> Installation {
    // The web service has the clock of this machine.
    let now = Timestamp::from(std::time::SystemTime::now());
    Installation { sensor: SensorId::new("a").unwrap(), seed: Some(7), now }
}

fn service(kind: ServiceKind, listen: &str) -> ServiceConfig {
    ServiceConfig::new(kind, listen.parse().unwrap())
}

/// Services as a careful operator has them.
fn careful() -> Config {
    let mut ssh = service(ServiceKind::Ssh, "192.0.2.1:22");
    ssh.ssh = Some(SshConfig {
        accept: SshAccept::List(vec!["root:admin123".to_owned()]),
        host_keys: Some("/nonexistent/keys".into()),
        ..SshConfig::default()
    });
    let mut telnet = service(ServiceKind::Telnet, "192.0.2.2:23");
    telnet.telnet = Some(TelnetConfig { accept: Accept::Never, ..TelnetConfig::default() });
    Config {
        services: vec![ssh, telnet, service(ServiceKind::Http, "192.0.2.2:80")],
        ..Config::default()
    }
}

fn verdict(tells: &[Tell], id: &str) -> Verdict {
    let mut found = tells.iter().filter(|tell| tell.id == id).map(|tell| tell.verdict);
    let verdict = found.next().unwrap_or_else(|| panic!("no check is called {id}"));
    found.fold(verdict, |all, one| if one == Verdict::Shown { one } else { all })
}

fn shown(tells: &[Tell]) -> Vec<String> {
    let shown = tells.iter().filter(|tell| tell.verdict == Verdict::Shown);
    shown.map(|tell| format!("{} {}: {}", tell.place, tell.id, tell.seen)).collect()
}

#[tokio::test]
async fn a_careful_installation_shows_nothing() {
    let tells = check(&careful(), &here()).await.unwrap();
    assert_eq!(shown(&tells), Vec::<String>::new());
    let ids: BTreeSet<_> = tells.iter().map(|tell| tell.id).collect();
    assert!(ids.len() > 35, "{}", ids.len());
    assert!(tells.iter().all(|tell| tell.seen.chars().count() <= MAX_SEEN + 1));
    assert!(tells.iter().all(|tell| !tell.seen.is_empty()), "each says what was seen");
}

#[tokio::test]
async fn an_installation_that_is_left_as_shipped_shows_nothing() {
    for seed in [3, 7, 1_000_003] {
        let mut config = Config::default();
        for service in &mut config.services {
            if service.kind == ServiceKind::Ssh {
                // As the binary sets it.
                let keys = Some("/nonexistent/keys".into());
                service.ssh = Some(SshConfig { host_keys: keys, ..SshConfig::default() });
            }
        }
        let here = Installation { seed: Some(seed), ..here() };
        let tells = check(&config, &here).await.unwrap();
        assert_eq!(shown(&tells), Vec::<String>::new(), "seed {seed}");
        for id in ["ssh-any-password", "telnet-any-password", "contradicting-services"] {
            assert_eq!(verdict(&tells, id), Verdict::Hidden, "{id}");
        }
    }
}

#[tokio::test]
async fn what_an_operator_changes_for_the_worse_is_shown() {
    let mut config = careful();
    config.services[0].listen = "192.0.2.1:2222".parse().unwrap();
    config.services[1].listen = "192.0.2.1:2323".parse().unwrap();
    let telnet = TelnetConfig { accept: Accept::After(3), ..TelnetConfig::default() };
    config.services[1].telnet = Some(telnet);
    config.persona = PersonaConfig {
        hostname: Some("svr04".to_owned()),
        seed: Some(1),
        server: Some("ubuntu2204".to_owned()),
        ..PersonaConfig::default()
    };
    let ssh = config.services[0].ssh.as_mut().unwrap();
    ssh.server = Some("debian12".to_owned());
    ssh.version = Some("SSH-2.0-OpenSSH_6.0p1 Debian-4+deb7u2".to_owned());
    ssh.accept = SshAccept::Always;
    ssh.host_keys = None;
    ssh.fail_jitter_ms = 0;
    let tells = check(&config, &here()).await.unwrap();
    for id in [
        "ssh-version",
        "ssh-kexinit",
        "ssh-hassh-server",
        "ssh-version-system",
        "ssh-any-password",
        "ssh-failure-delay",
        "ssh-host-key",
        "port",
        "host-name",
        "persona-seed",
        "telnet-login-prompt",
        "telnet-any-password",
        "shell-names",
    ] {
        assert_eq!(verdict(&tells, id), Verdict::Shown, "{id}");
    }
    for id in ["ssh-bad-version", "ssh-newlines", "shell-dd", "http-error-page"] {
        assert_eq!(verdict(&tells, id), Verdict::Hidden, "{id}");
    }
}

#[test]
fn no_persona_shows_a_tell_in_its_shell() {
    for seed in 0..40 {
        let config = PersonaConfig { seed: Some(seed), ..PersonaConfig::default() };
        let (out, _events) = mpsc::channel(1);
        let sensor = SensorId::new("a").unwrap();
        let zone = Zone::new(&config, sensor, None, out, Arc::new(Stats::default())).unwrap();
        let mut tells = Vec::new();
        shell::try_on(&zone.device, "device", NOW, &mut tells);
        shell::try_on(&zone.server, "server", NOW, &mut tells);
        assert_eq!(shown(&tells), Vec::<String>::new(), "seed {seed}");
    }
}

#[tokio::test]
async fn a_camera_in_front_of_a_server_is_no_machine_that_exists() {
    let mut config = careful();
    config.services[1].listen = "192.0.2.1:23".parse().unwrap();
    // Whatever the operator wants; left alone, it is a gateway.
    for seed in 0..20 {
        let here = Installation { seed: Some(seed), ..here() };
        let found = verdict(&check(&config, &here).await.unwrap(), "contradicting-services");
        assert_eq!(found, Verdict::Hidden, "seed {seed}");
    }
    config.persona.gateway = Some(false);
    let of = async |product: &str| {
        // Whatever the seed draws: the first that is such a product.
        for seed in 0..200 {
            let here = Installation { seed: Some(seed), ..here() };
            let persona = PersonaConfig { seed: here.seed, ..PersonaConfig::default() };
            if crate::Persona::new(&persona, &here.sensor).product.contains(product) {
                return verdict(&check(&config, &here).await.unwrap(), "contradicting-services");
            }
        }
        panic!("no {product}");
    };
    assert_eq!(of("Camera").await, Verdict::Shown);
    assert_eq!(of("Router").await, Verdict::Hidden);
}

#[tokio::test]
async fn mistakes_are_named() {
    let mut config = careful();
    config.persona.hostname = Some("a b".to_owned());
    assert!(check(&config, &here()).await.unwrap_err()[0].contains("hostname"));
}
