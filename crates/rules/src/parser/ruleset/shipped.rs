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
