//! The parsers that come with the program.

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// File name, text, and sample lines of each shipped parser.
        pub const SHIPPED_PARSERS: &[(&str, &str, &str)] = &[$((
            concat!("ruleset/parsers/", $name, ".toml"),
            include_str!(concat!("../../../../../ruleset/parsers/", $name, ".toml")),
            include_str!(concat!("../../../../../ruleset/parsers/", $name, ".samples")),
        )),*];
    };
}

/// The name of a shipped parser by its file; the file says the same.
pub(super) fn name(file: &str) -> &str {
    let end = file.rsplit('/').next().unwrap_or(file);
    end.strip_suffix(".toml").unwrap_or(end)
}

shipped![
    "apache",
    "apache-error",
    "caddy",
    "dovecot",
    "exim",
    "haproxy",
    "mysql",
    "nextcloud",
    "nginx",
    "nginx-error",
    "pam",
    "postfix",
    "postgresql",
    "proftpd",
    "pure-ftpd",
    "su",
    "sudo",
    "traefik",
    "vaultwarden",
    "vsftpd",
    "wordpress",
];
