//! A site: pages and files of one web server, from a folder with `site.toml`,
//! templates and, below `root/`, files served as they are. Shipped ones are
//! embedded; an operator's folder is read once, at the start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;

use super::daemon::{Brand, Daemon};
use super::template::{Facts, Template};
use crate::persona::{Draw, hash};
use crate::shell::World;
use crate::{Persona, System};

/// Most files and bytes of an operator's folder.
const MAX_FOLDER_FILES: usize = 2_000;
const MAX_FOLDER_BYTES: u64 = 16 * 1024 * 1024;
/// Seconds since 1970 of the oldest file of a site, and the span of the others.
const OLDEST_FILE: i64 = 1_687_000_000;
const FILE_SPAN_SECS: u32 = 40_000_000;
/// Shorter answers are not compressed.
const MIN_GZIP_BYTES: usize = 20;

/// `site.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// `nginx`, `apache` or `lighttpd`.
    daemon: String,
    /// The `Server` field; default: as the machine's package has it.
    server: Option<String>,
    /// Shipped parts that are added, such as `bait`.
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    pages: Vec<PageEntry>,
    /// The page of every path that is not there.
    fallback: Option<PageEntry>,
}

/// A part that is added to a site.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Part {
    pages: Vec<PageEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageEntry {
    #[serde(default)]
    path: String,
    /// Further paths of the same page.
    #[serde(default)]
    also: Vec<String>,
    /// The file with its text, beside `site.toml`.
    file: Option<String>,
    /// The text itself.
    text: Option<String>,
    #[serde(rename = "type")]
    content_type: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    /// Fields of the answer, in their order.
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// Made by a program: no date, no tag, any method.
    #[serde(default)]
    program: bool,
    /// The file shown after a login that failed.
    failed: Option<String>,
    /// The realm of a page that asks for Basic authentication.
    realm: Option<String>,
    /// Methods that a program takes, where it does not take all.
    #[serde(default)]
    methods: Vec<String>,
    /// Where it leads.
    location: Option<String>,
}

fn ok() -> u16 {
    200
}

/// One page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) content_type: Option<Box<[u8]>>,
    pub(super) fields: Template,
    pub(super) body: Template,
    pub(super) failed: Option<Template>,
    /// Of a file: date, tag, and its bytes compressed.
    pub(super) file: Option<File>,
    pub(super) realm: Option<Box<str>>,
    pub(super) methods: Vec<String>,
    pub(super) location: Option<Template>,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) modified: String,
    pub(super) tag: String,
    pub(super) gzip: Option<Vec<u8>>,
}

/// A site, ready to serve.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) daemon: Daemon,
    pages: HashMap<Box<[u8]>, std::sync::Arc<Page>>,
    directories: HashSet<Box<[u8]>>,
    pub(super) fallback: Option<Page>,
    /// Credentials that the pages give away, by their names.
    pub(super) secrets: BTreeMap<String, String>,
}

macro_rules! site {
    ($name:literal: $($file:literal),*) => {
        ($name, &[$(($file, include_bytes!(concat!("../../../sites/", $name, "/", $file)))),*])
    };
}

type Shipped = (&'static str, &'static [(&'static str, &'static [u8])]);

/// The shipped sites, each with its files.
const SHIPPED: [Shipped; 5] = [
    site!("router": "site.toml", "login.html", "failed.html"),
    site!("nginx": "site.toml", "index.html"),
    site!("apache": "site.toml"),
    site!("phpmyadmin": "site.toml", "login.html", "failed.html"),
    site!("wordpress": "site.toml", "index.html", "login.html", "failed.html", "404.html", "readme.html",
        "feed.xml", "users.json", "posts.json", "api.json", "fault.xml", "refused.txt"),
];
/// Parts that sites include.
const PARTS: [Shipped; 2] = [
    site!("apache-default": "part.toml", "index.html"),
    site!("bait": "part.toml", "env.txt", "git-config.txt", "git-log.txt", "wp-config.txt"),
];

/// Names of the shipped sites.
pub(crate) fn shipped() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// Where the files of a site are.
struct Folder(HashMap<String, Vec<u8>>);

impl Folder {
    fn shipped(files: &[(&str, &[u8])]) -> Self {
        Self(files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect())
    }

    /// Reads a folder whole, within bounds.
    fn read(folder: &Path) -> Result<Self, String> {
        let cannot = |path: &Path, error| format!("cannot read {}: {error}", path.display());
        let mut files = HashMap::new();
        let (mut left, mut bytes) = (vec![folder.to_path_buf()], 0u64);
        while let Some(directory) = left.pop() {
            let entries =
                std::fs::read_dir(&directory).map_err(|error| cannot(&directory, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| cannot(&directory, error))?;
                let path = entry.path();
                let kind = entry.metadata().map_err(|error| cannot(&path, error))?;
                if kind.is_dir() {
                    left.push(path);
                    continue;
                }
                bytes = bytes.saturating_add(kind.len());
                if !kind.is_file() {
                    continue;
                }
                if files.len() >= MAX_FOLDER_FILES || bytes > MAX_FOLDER_BYTES {
                    return Err(format!(
                        "{} has more than {MAX_FOLDER_FILES} files or {MAX_FOLDER_BYTES} bytes",
                        folder.display()
                    ));
                }
                let text = std::fs::read(&path).map_err(|error| cannot(&path, error))?;
                let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy();
                files.insert(name.into_owned(), text);
            }
        }
        Ok(Self(files))
    }

    fn bytes(&self, name: &str) -> Result<&[u8], String> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| format!("there is no file '{name}'"))
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        std::str::from_utf8(self.bytes(name)?).map_err(|_| format!("{name} is not UTF-8"))
    }
}

impl Site {
    /// The site of that name, or of the folder that a path names.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub(super) fn open(name: &str, persona: &Persona, world: &World) -> Result<Self, String> {
        let known = SHIPPED.iter().find(|(known, _)| *known == name);
        let folder = match known {
            Some((_, files)) => Folder::shipped(files),
            None if name.contains('/') => Folder::read(Path::new(name))?,
            None => {
                let names: Vec<&str> = shipped().collect();
                let names = names.join(", ");
                let name = name.escape_default();
                return Err(format!(
                    "no site '{name}'; there are {names}, or the path of a folder"
                ));
            }
        };
        Self::build(&folder, persona, world).map_err(|mistake| format!("site {name}: {mistake}"))
    }

    fn build(folder: &Folder, persona: &Persona, world: &World) -> Result<Self, String> {
        let manifest: Manifest =
            toml::from_str(folder.text("site.toml")?).map_err(|error| error.to_string())?;
        let mut maker = Maker {
            daemon: daemon(&manifest, persona, world)?,
            facts: facts(persona, world),
            pages: HashMap::new(),
            directories: HashSet::new(),
        };
        for (name, bytes) in &folder.0 {
            if let Some(path) = name.strip_prefix("root/") {
                maker.add_file(path, bytes);
            }
        }
        for name in &manifest.include {
            let part = PARTS.iter().find(|(known, _)| known == name);
            let (_, files) = part.ok_or_else(|| format!("there is no part '{name}'"))?;
            let folder = Folder::shipped(files);
            let part: Part =
                toml::from_str(folder.text("part.toml")?).map_err(|error| error.to_string())?;
            for page in &part.pages {
                maker.add(&folder, page)?;
            }
        }
        for page in &manifest.pages {
            maker.add(folder, page)?;
        }
        let fallback =
            manifest.fallback.as_ref().map(|page| maker.page(folder, page)).transpose()?;
        let Maker { daemon, facts, pages, directories } = maker;
        Ok(Self { daemon, pages, directories, fallback, secrets: facts.into_secrets() })
    }

    /// The page of a resolved path.
    pub(super) fn page(&self, path: &[u8]) -> Option<&Page> {
        self.pages.get(path).map(std::sync::Arc::as_ref)
    }

    /// Whether a path without its last `/` is a directory.
    pub(super) fn is_directory(&self, path: &[u8]) -> bool {
        self.directories.contains(path)
    }
}

/// A site that is being made.
struct Maker {
    daemon: Daemon,
    facts: Facts,
    pages: HashMap<Box<[u8]>, std::sync::Arc<Page>>,
    directories: HashSet<Box<[u8]>>,
}

impl Maker {
    fn add(&mut self, folder: &Folder, entry: &PageEntry) -> Result<(), String> {
        let page = self.page(folder, entry);
        let page = page.map_err(|mistake| format!("{}: {mistake}", entry.path))?;
        let page = std::sync::Arc::new(page);
        for path in std::iter::once(&entry.path).chain(&entry.also) {
            let named = Template::new(path.as_bytes(), &mut self.facts);
            let named = named.fixed().map(String::from_utf8_lossy);
            match named.filter(|path| path.starts_with('/')) {
                Some(path) => self.put(&path, std::sync::Arc::clone(&page)),
                None => return Err(format!("'{path}' is no path that begins with /")),
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, page: std::sync::Arc<Page>) {
        let up = |path: &str| path.rfind('/').filter(|at| *at > 0);
        let mut directory = path;
        while let Some(end) = up(directory) {
            directory = directory.get(..end).unwrap_or_default();
            self.directories.insert(directory.as_bytes().into());
        }
        self.pages.insert(path.as_bytes().into(), page);
    }

    /// A file below `root/`.
    fn add_file(&mut self, path: &str, bytes: &[u8]) {
        let body = match std::str::from_utf8(bytes) {
            Ok(_) => Template::new(bytes, &mut self.facts),
            Err(_) => Template::plain(bytes),
        };
        let content_type = type_of(path, self.daemon.brand).map(|text| text.as_bytes().into());
        let path = format!("/{path}");
        let file = Some(self.file(&path, &body, content_type.as_deref()));
        let page = std::sync::Arc::new(Page {
            status: 200,
            content_type,
            fields: Template::plain(b""),
            body,
            failed: None,
            file,
            realm: None,
            methods: Vec::new(),
            location: None,
        });
        if let Some(directory) = path.strip_suffix("index.html") {
            self.put(directory, std::sync::Arc::clone(&page));
        }
        self.put(&path, page);
    }

    fn page(&mut self, folder: &Folder, entry: &PageEntry) -> Result<Page, String> {
        let body = match (&entry.file, &entry.text) {
            (Some(file), None) => Template::new(folder.bytes(file)?, &mut self.facts),
            (None, Some(text)) => Template::new(text.as_bytes(), &mut self.facts),
            (None, None) => Template::plain(b""),
            (Some(_), Some(_)) => return Err("has both 'file' and 'text'".to_owned()),
        };
        let failed = entry.failed.as_ref().map(|file| folder.bytes(file)).transpose()?;
        let failed = failed.map(|bytes| Template::new(bytes, &mut self.facts));
        let mut fields = String::new();
        for (name, value) in &entry.headers {
            if name.contains(['\r', '\n', ':']) || value.contains(['\r', '\n']) {
                return Err(format!("the header '{}' has no such form", name.escape_default()));
            }
            fields.push_str(&format!("{name}: {value}\r\n"));
        }
        let content_type = match &entry.content_type {
            Some(text) => Some(text.as_bytes().into()),
            None => type_of(&entry.path, self.daemon.brand).map(|text| text.as_bytes().into()),
        };
        let program = entry.program || entry.status != 200 || body.fixed().is_none();
        let file = (!program).then(|| self.file(&entry.path, &body, content_type.as_deref()));
        let location = entry.location.as_ref().map(|text| text.as_bytes());
        Ok(Page {
            status: entry.status,
            content_type,
            fields: Template::new(fields.as_bytes(), &mut self.facts),
            body,
            failed,
            file,
            realm: entry.realm.as_deref().map(Into::into),
            methods: entry.methods.clone(),
            location: location.map(|text| Template::new(text, &mut self.facts)),
        })
    }

    /// Date, tag and compressed bytes of a file, the same for ever.
    fn file(&self, path: &str, body: &Template, content_type: Option<&[u8]>) -> File {
        let bytes = body.fixed().unwrap_or_default();
        let mut draw = Draw(self.facts.seed() ^ hash(path.as_bytes()));
        let at = OLDEST_FILE + i64::from(draw.below(FILE_SPAN_SECS));
        let micros = at * 1_000_000 + i64::from(draw.below(1_000_000));
        let tag = match self.daemon.brand {
            Brand::Nginx => format!("\"{at:x}-{:x}\"", bytes.len()),
            Brand::Apache => format!("\"{:x}-{micros:x}\"", bytes.len()),
            Brand::Lighttpd => format!("\"{}\"", 1_000_000_000 + draw.below(3_000_000_000)),
        };
        let html = content_type.is_some_and(|text| text.starts_with(b"text/html"));
        let text = content_type.is_some_and(|text| {
            text.starts_with(b"text/") || text.starts_with(b"application/javascript")
        });
        let compress = match self.daemon.brand {
            Brand::Nginx => html,
            Brand::Apache => text,
            Brand::Lighttpd => false,
        };
        let gzip = (compress && bytes.len() >= MIN_GZIP_BYTES).then(|| gzip(bytes));
        File { modified: super::http_date(at), tag, gzip }
    }
}

/// Bytes as `Content-Encoding: gzip` has them.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// The type that servers give a file by its name.
fn type_of(path: &str, brand: Brand) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let unknown = (brand != Brand::Apache).then_some("application/octet-stream");
    let Some((_, extension)) = name.rsplit_once('.') else {
        return if name.is_empty() { Some("text/html") } else { unknown };
    };
    Some(match extension {
        "html" | "htm" => "text/html",
        "txt" | "log" => "text/plain",
        "css" => "text/css",
        "js" => "application/javascript",
        "json" => "application/json",
        "xml" => "text/xml",
        "ico" if brand == Brand::Nginx => "image/x-icon",
        "ico" => "image/vnd.microsoft.icon",
        "png" => "image/png",
        "gif" => "image/gif",
        "jpg" | "jpeg" => "image/jpeg",
        "svg" => "image/svg+xml",
        "zip" => "application/zip",
        "gz" if brand == Brand::Apache => "application/x-gzip",
        "pdf" => "application/pdf",
        _ => return unknown,
    })
}

fn daemon(manifest: &Manifest, persona: &Persona, world: &World) -> Result<Daemon, String> {
    let ubuntu = world.system() == System::Ubuntu;
    let (brand, own) = match manifest.daemon.as_str() {
        "nginx" if ubuntu => (Brand::Nginx, "nginx/1.18.0 (Ubuntu)"),
        "nginx" => (Brand::Nginx, "nginx/1.22.1"),
        "apache" if ubuntu => (Brand::Apache, "Apache/2.4.52 (Ubuntu)"),
        "apache" => (Brand::Apache, "Apache/2.4.71 (Debian)"),
        "lighttpd" => (Brand::Lighttpd, persona.server.as_str()),
        other => {
            let other = other.escape_default();
            return Err(format!("daemon '{other}' is none of nginx, apache, lighttpd"));
        }
    };
    let server = manifest.server.clone().unwrap_or_else(|| own.to_owned());
    if server.contains(['\r', '\n']) {
        return Err("the server's name has a line break".to_owned());
    }
    Ok(Daemon { brand, server })
}

fn facts(persona: &Persona, world: &World) -> Facts {
    let machine = &world.machine;
    let first = machine.users.iter().find(|user| user.uid >= 1_000);
    let user = first.map_or_else(|| "admin".to_owned(), |user| user.name.clone());
    let distribution = if world.system() == System::Ubuntu { "Ubuntu" } else { "Debian" };
    Facts::new(
        persona.seed,
        BTreeMap::from([
            ("distribution", distribution.to_owned()),
            ("hostname", machine.hostname.clone()),
            ("domain", machine.domain.clone()),
            ("user", user),
            ("product", persona.product.to_owned()),
            ("model", persona.model.clone()),
            ("firmware", persona.firmware.clone()),
            ("token", persona.token.clone()),
        ]),
    )
}
