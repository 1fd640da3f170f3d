//! The transport protocol of a server (RFC 4253), without a socket: bytes in
//! by [`Transport::inbox`], what they mean by [`Transport::poll`], bytes out by
//! [`Transport::take_output`]. It knows versions, key exchange and packets,
//! and nothing of logins and channels. What is wrong is answered as OpenSSH
//! answers it.

use std::sync::Arc;

use super::cipher::{self, Cipher, Way};
use super::hostkey::{HostKeys, Signer};
use super::kex::dh::Group;
use super::kex::{self, Method, Offer, list};
use super::mac::{self, Mac};
use super::message::*;
use super::packet::{Corrupt, Opener, Sealer};
use super::profile::Profile;
use super::wire::{Put as _, Reader};

/// Longest line of a client's version, as OpenSSH has it.
const MAX_VERSION_BYTES: usize = 8_192;
/// Most key exchanges of a connection; each costs us more than the client.
const MAX_EXCHANGES: u32 = 16;
/// Most messages that wait for a key exchange to end.
const MAX_WAITING: usize = 64;

/// What all connections of one server share.
#[derive(Debug)]
pub struct Server {
    pub(super) profile: &'static Profile,
    pub(super) version: String,
    pub(super) keys: HostKeys,
    // Our KEXINIT without its first 17 bytes.
    offer: Vec<u8>,
}

impl Server {
    pub(super) fn new(profile: &'static Profile, version: Option<&str>, keys: HostKeys) -> Self {
        let mut offer = Vec::new();
        for list in profile.lists() {
            offer.put_string(list.as_bytes());
        }
        offer.put_u8(0);
        offer.put_u32(0);
        let version = version.unwrap_or(profile.version).to_owned();
        Self { profile, version, keys, offer }
    }

    /// The server of a profile, such as `debian12`; `None` where there is none.
    #[must_use]
    pub fn of_profile(name: &str, keys: HostKeys) -> Option<Self> {
        Profile::named(name).map(|profile| Self::new(profile, None, keys))
    }

    /// A `KEXINIT` with a new cookie.
    fn kexinit(&self) -> Vec<u8> {
        let mut message = vec![KEXINIT];
        message.extend_from_slice(&rand::random::<[u8; 16]>());
        message.extend_from_slice(&self.offer);
        message
    }
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The client's version line, without its end.
    Version(Vec<u8>),
    /// What the client offers for the first key exchange.
    Offer(Box<Offer>),
    /// The first key exchange is done; the names that were chosen.
    Secured(Chosen),
    /// A message of the layers above.
    Message(Vec<u8>),
}

/// The names that were agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub(super) kex: &'static str,
    pub(super) host_key: &'static str,
    pub(super) cipher: &'static str,
    pub(super) mac: &'static str,
    pub(super) compression: &'static str,
}

/// Why the connection must end; what the client is told is in the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said good-bye.
    Disconnected(Vec<u8>),
    /// The client does not speak as it must; what OpenSSH logs or says.
    Fault(String),
}

enum Stage {
    Version,
    /// Our `KEXINIT` is sent, theirs is awaited.
    Offer(Vec<u8>),
    Exchange(Box<Exchange>),
    /// We have gone over; they have not.
    NewKeys(Box<(Names, Cipher, Option<Mac>)>),
    Open,
    /// The offers have nothing in common; the connection ends.
    Failed(&'static str),
}

/// A key exchange under way.
struct Exchange {
    names: Names,
    // The client's KEXINIT and ours, for the hash.
    theirs: Vec<u8>,
    ours: Vec<u8>,
    skip: bool,
    /// Whether the client wants to hear of extensions (RFC 8308).
    extensions: bool,
    group: Option<(Arc<Group>, [u32; 3])>,
}

#[derive(Clone, Copy)]
struct Names {
    chosen: Chosen,
    method: Method,
    signer: Signer,
    cipher_in: cipher::Algorithm,
    cipher_out: cipher::Algorithm,
    mac_in: Option<mac::Algorithm>,
    mac_out: Option<mac::Algorithm>,
    compress: [bool; 2],
}

/// One connection. See the module's first lines.
pub struct Transport {
    server: Arc<Server>,
    inbox: Vec<u8>,
    out: Vec<u8>,
    opener: Opener,
    sealer: Sealer,
    stage: Stage,
    client_version: Box<[u8]>,
    session_id: Box<[u8]>,
    strict: bool,
    exchanges: u32,
    compress: [bool; 2],
    waiting: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// A connection of `server`; says its version at once.
    #[must_use]
    pub fn new(server: Arc<Server>) -> Self {
        let out = format!("{}\r\n", server.version).into_bytes();
        Self {
            server,
            inbox: Vec::new(),
            out,
            opener: Opener::plain(),
            sealer: Sealer::plain(),
            stage: Stage::Version,
            client_version: Box::default(),
            session_id: Box::default(),
            strict: false,
            exchanges: 0,
            compress: [false; 2],
            waiting: Vec::new(),
        }
    }

    /// Where bytes from the client go.
    pub fn inbox(&mut self) -> &mut Vec<u8> {
        &mut self.inbox
    }

    /// What is to be sent, once.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Names the connection in what clients sign.
    pub(super) fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// Sends a message of the layers above, after a key exchange where one is
    /// under way.
    pub(super) fn send(&mut self, message: &[u8]) {
        match self.stage {
            Stage::Open | Stage::NewKeys(_) => self.sealer.seal(message, &mut self.out),
            _ if self.waiting.len() < MAX_WAITING => self.waiting.push(message.to_vec()),
            _ => {}
        }
    }

    /// Says good-bye as OpenSSH does when the client does wrong.
    pub(super) fn disconnect(&mut self, text: &str) -> End {
        self.disconnect_with(PROTOCOL_ERROR, text)
    }

    fn disconnect_with(&mut self, code: u32, text: &str) -> End {
        let mut message = vec![DISCONNECT];
        message.put_u32(code);
        message.put_string(text.as_bytes());
        message.put_string(b"");
        self.sealer.seal(&message, &mut self.out);
        End::Fault(text.to_owned())
    }

    /// Says that the last message is not known.
    pub(super) fn unimplemented(&mut self) {
        let mut message = vec![UNIMPLEMENTED];
        message.put_u32(self.opener.number().wrapping_sub(1));
        self.send(&message);
    }

    /// Shows that we own the host keys that a client asks about
    /// (`hostkeys-prove-00@openssh.com`).
    pub(super) fn prove(&self, reader: &mut Reader<'_>) -> Option<Vec<u8>> {
        let keys = &self.server.keys;
        let mut answer = Vec::new();
        let mut left = keys.all_public().len();
        while !reader.rest().is_empty() {
            left = left.checked_sub(1)?;
            let public = reader.string()?;
            let mut data = Vec::new();
            data.put_string(b"hostkeys-prove-00@openssh.com");
            data.put_string(&self.session_id);
            data.put_string(public);
            answer.put_string(&keys.sign(keys.signer_of(public)?, &data)?);
        }
        (!answer.is_empty()).then_some(answer)
    }

    /// Tells all host keys after a login, as OpenSSH does.
    pub(super) fn tell_host_keys(&mut self) {
        let mut message = vec![GLOBAL_REQUEST];
        message.put_string(b"hostkeys-00@openssh.com");
        message.put_u8(0);
        for public in self.server.keys.all_public() {
            message.put_string(&public);
        }
        self.send(&message);
    }

    /// The client has logged in: longer packets, and compression from now on
    /// where it was agreed.
    pub(super) fn logged_in(&mut self) {
        self.opener.trust();
        let [inward, outward] = self.compress;
        if inward {
            self.opener.decompress();
        }
        if outward {
            self.sealer.compress();
        }
    }

    /// The next thing that came, or `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`End`]: send the output and close.
    pub fn poll(&mut self) -> Result<Option<Incoming>, End> {
        let incoming = self.take()?;
        if incoming.is_none() && self.inbox.is_empty() {
            // Nothing is held for a client that is silent.
            self.inbox = Vec::new();
        }
        Ok(incoming)
    }

    fn take(&mut self) -> Result<Option<Incoming>, End> {
        if matches!(self.stage, Stage::Version) {
            return self.version();
        }
        loop {
            if let Stage::Failed(what) = self.stage {
                // OpenSSH only logs it.
                return Err(End::Fault(format!("no matching {what} found")));
            }
            let message = match self.opener.open(&mut self.inbox) {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(Corrupt::Packet) => return Err(End::Fault("Packet corrupt".to_owned())),
                Err(Corrupt::Padding(bytes)) => {
                    let text = format!("Corrupted padlen {bytes} on input.");
                    return Err(self.disconnect(&text));
                }
            };
            let Some(kind) = message.first().copied() else {
                return Err(End::Fault("incomplete message".to_owned()));
            };
            // Nothing but the exchange may be seen before the first one ends.
            let exchange = matches!(kind, KEXINIT..=49) || kind == DISCONNECT;
            if self.strict && self.session_id.is_empty() && !exchange {
                let number = self.opener.number().wrapping_sub(1);
                let text =
                    format!("strict KEX violation: unexpected packet type {kind} (seqnr {number})");
                return Err(self.disconnect(&text));
            }
            match kind {
                DISCONNECT => {
                    let mut reader = Reader::new(message.get(5..).unwrap_or_default());
                    return Err(End::Disconnected(reader.string().unwrap_or_default().to_vec()));
                }
                IGNORE | DEBUG | UNIMPLEMENTED => {}
                KEXINIT => {
                    if let Some(offer) = self.offered(message)? {
                        return Ok(Some(Incoming::Offer(offer)));
                    }
                }
                NEWKEYS..=49 => {
                    if let Some(chosen) = self.exchange(kind, &message)? {
                        return Ok(Some(Incoming::Secured(chosen)));
                    }
                }
                _ if matches!(self.stage, Stage::Open) => {
                    return Ok(Some(Incoming::Message(message)));
                }
                _ if self.session_id.is_empty() => {
                    // OpenSSH closes without a word.
                    let text = format!("protocol error: rcvd type {kind}");
                    return Err(End::Fault(text));
                }
                _ => self.unimplemented_now(),
            }
        }
    }

    /// As [`Self::unimplemented`], in a key exchange too.
    fn unimplemented_now(&mut self) {
        let mut message = vec![UNIMPLEMENTED];
        message.put_u32(self.opener.number().wrapping_sub(1));
        self.sealer.seal(&message, &mut self.out);
    }

    fn version(&mut self) -> Result<Option<Incoming>, End> {
        let Some(end) = self.inbox.iter().position(|byte| *byte == b'\n') else {
            if self.inbox.len() > MAX_VERSION_BYTES {
                self.out.extend_from_slice(b"Invalid SSH identification string.\r\n");
                return Err(End::Fault("version line too long".to_owned()));
            }
            return Ok(None);
        };
        let line: Vec<u8> = self.inbox.drain(..=end).collect();
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let strange = line.iter().any(|byte| matches!(byte, 0 | b'\r'));
        if !line.starts_with(b"SSH-") || strange || line.len() > MAX_VERSION_BYTES {
            self.out.extend_from_slice(b"Invalid SSH identification string.\r\n");
            return Err(End::Fault("Invalid SSH identification string.".to_owned()));
        }
        if !line.starts_with(b"SSH-2.") && !line.starts_with(b"SSH-1.99-") {
            self.out.extend_from_slice(b"Protocol major versions differ.\r\n");
            return Err(End::Fault("Protocol major versions differ.".to_owned()));
        }
        self.client_version = line.into();
        let ours = self.server.kexinit();
        self.sealer.seal(&ours, &mut self.out);
        self.stage = Stage::Offer(ours);
        Ok(Some(Incoming::Version(line.to_vec())))
    }

    /// Takes the client's `KEXINIT`; the first one is returned.
    fn offered(&mut self, theirs: Vec<u8>) -> Result<Option<Box<Offer>>, End> {
        let ours = match std::mem::replace(&mut self.stage, Stage::Open) {
            Stage::Offer(ours) => ours,
            Stage::Open => {
                let ours = self.server.kexinit();
                self.sealer.seal(&ours, &mut self.out);
                ours
            }
            other => {
                self.stage = other;
                self.unimplemented_now();
                return Ok(None);
            }
        };
        self.exchanges += 1;
        if self.exchanges > MAX_EXCHANGES {
            return Err(End::Fault("too many key exchanges".to_owned()));
        }
        let Some(offer) = Offer::parse(&theirs) else {
            return Err(End::Fault("invalid KEXINIT".to_owned()));
        };
        let first = self.session_id.is_empty();
        if first {
            self.strict = offer.has(list::KEX, "kex-strict-c-v00@openssh.com");
            if self.strict && self.opener.number() != 1 {
                return Err(
                    self.disconnect("strict KEX violation: KEXINIT was not the first packet")
                );
            }
        }
        let names = match Names::agree(&offer, self.server.profile) {
            Ok(names) => names,
            Err(what) => {
                self.stage = Stage::Failed(what);
                return Ok(first.then(|| Box::new(offer)));
            }
        };
        let guessed = |index, ours: &str| {
            kex::names(offer.list(index)).next() == ours.split(',').next().map(str::as_bytes)
        };
        let profile = self.server.profile;
        let right = guessed(list::KEX, profile.kex) && guessed(list::HOST_KEY, profile.host_keys);
        let skip = offer.follows && !right;
        let extensions = offer.has(list::KEX, "ext-info-c");
        let exchange = Exchange { names, theirs, ours, skip, extensions, group: None };
        self.stage = Stage::Exchange(Box::new(exchange));
        Ok(first.then(|| Box::new(offer)))
    }

    /// A message of a key exchange; the names chosen when the first one ends.
    fn exchange(&mut self, kind: u8, message: &[u8]) -> Result<Option<Chosen>, End> {
        match std::mem::replace(&mut self.stage, Stage::Open) {
            Stage::NewKeys(keys) if kind == NEWKEYS => {
                let (names, cipher, mac) = *keys;
                self.opener.rekey(cipher, names.cipher_in.block_bytes(), mac, self.strict);
                self.compress = names.compress;
                return Ok((self.exchanges == 1).then_some(names.chosen));
            }
            Stage::Exchange(mut exchange) if kind >= KEX_INIT => {
                let mut reader = Reader::new(message.get(1..).unwrap_or_default());
                let asks = exchange.names.method == Method::GroupExchange;
                let expected = if asks { GEX_INIT } else { KEX_INIT };
                if std::mem::take(&mut exchange.skip) {
                    // A wrong guess of the client.
                } else if asks && kind == GEX_REQUEST && exchange.group.is_none() {
                    self.group(&mut exchange, &mut reader)?;
                } else if kind == expected && asks == exchange.group.is_some() {
                    self.reply(&exchange, &mut reader)?;
                    return Ok(None);
                } else {
                    self.unimplemented_now();
                }
                self.stage = Stage::Exchange(exchange);
            }
            other => {
                self.stage = other;
                self.unimplemented_now();
            }
        }
        Ok(None)
    }

    /// Answers a client that asks for a group by size.
    fn group(&mut self, exchange: &mut Exchange, reader: &mut Reader<'_>) -> Result<(), End> {
        let mut sizes = || Some([reader.u32()?, reader.u32()?, reader.u32()?]);
        let found =
            sizes().and_then(|s @ [min, want, max]| Some((Group::sized(min, want, max)?, s)));
        let Some((group, sizes)) = found else {
            return Err(End::Fault("DH GEX group out of range".to_owned()));
        };
        let (prime, generator) = group.parameters();
        let mut message = vec![KEX_REPLY];
        message.put_mpint(&prime);
        message.put_mpint(&generator);
        self.sealer.seal(&message, &mut self.out);
        exchange.group = Some((group, sizes));
        Ok(())
    }

    /// Answers the client's public part and goes over to the new keys.
    fn reply(&mut self, exchange: &Exchange, reader: &mut Reader<'_>) -> Result<(), End> {
        let invalid = || End::Fault("invalid key exchange value".to_owned());
        let Names { method, signer, .. } = exchange.names;
        let theirs = reader.string().ok_or_else(invalid)?;
        let fixed = method.group();
        let group = exchange.group.as_ref().map(|(group, _)| group).or(fixed.as_ref());
        let agreed = method.agree(group.map(Arc::as_ref), theirs).ok_or_else(invalid)?;
        let public_key = self.server.keys.public(signer);
        let mut transcript = Vec::with_capacity(4_096);
        transcript.put_string(&self.client_version);
        transcript.put_string(self.server.version.as_bytes());
        transcript.put_string(&exchange.theirs);
        transcript.put_string(&exchange.ours);
        transcript.put_string(&public_key);
        if let Some((group, sizes)) = &exchange.group {
            sizes.iter().for_each(|size| transcript.put_u32(*size));
            let (prime, generator) = group.parameters();
            transcript.put_mpint(&prime);
            transcript.put_mpint(&generator);
        }
        let mut public = Vec::new();
        if method.is_numeric() {
            transcript.put_mpint(theirs);
            public.put_mpint(&agreed.public);
        } else {
            transcript.put_string(theirs);
            public.put_string(&agreed.public);
        }
        transcript.extend_from_slice(&public);
        transcript.extend_from_slice(&agreed.secret);
        let hash = ring::digest::digest(method.hash(), &transcript);
        let hash = hash.as_ref();
        let first = self.session_id.is_empty();
        if first {
            self.session_id = hash.into();
        }
        let signature = self.server.keys.sign(signer, hash).ok_or_else(invalid)?;
        let mut message = vec![if exchange.group.is_some() { GEX_REPLY } else { KEX_REPLY }];
        message.put_string(&public_key);
        message.extend_from_slice(&public);
        message.put_string(&signature);
        self.sealer.seal(&message, &mut self.out);
        self.sealer.seal(&[NEWKEYS], &mut self.out);
        self.switch(exchange, &agreed.secret, hash).ok_or_else(invalid)?;
        if first && exchange.extensions {
            self.say_extensions();
        }
        for message in std::mem::take(&mut self.waiting) {
            self.sealer.seal(&message, &mut self.out);
        }
        Ok(())
    }

    /// Derives the keys; takes ours into use.
    fn switch(&mut self, exchange: &Exchange, secret: &[u8], hash: &[u8]) -> Option<()> {
        let names = exchange.names;
        let session = &self.session_id;
        let key =
            |letter, bytes| kex::derive(names.method.hash(), secret, hash, session, letter, bytes);
        let make = |way, cipher: cipher::Algorithm, mac: Option<mac::Algorithm>| {
            let [iv, main, check] = match way {
                Way::Open => [b'A', b'C', b'E'],
                Way::Seal => [b'B', b'D', b'F'],
            };
            let keyed = Cipher::new(
                cipher,
                way,
                &key(main, cipher.key_bytes()),
                &key(iv, cipher.iv_bytes()),
            )?;
            let mac = match mac {
                Some(mac) => Some(Mac::new(mac, &key(check, mac.key_bytes()))?),
                None => None,
            };
            Some((keyed, mac))
        };
        let (outward, mac_out) = make(Way::Seal, names.cipher_out, names.mac_out)?;
        let (inward, mac_in) = make(Way::Open, names.cipher_in, names.mac_in)?;
        self.sealer.rekey(outward, names.cipher_out.block_bytes(), mac_out, self.strict);
        self.stage = Stage::NewKeys(Box::new((names, inward, mac_in)));
        Some(())
    }

    /// RFC 8308: which signatures of clients we take.
    fn say_extensions(&mut self) {
        let profile = self.server.profile;
        let mut message = vec![EXT_INFO];
        message.put_u32(1 + u32::from(profile.host_bound));
        message.put_string(b"server-sig-algs");
        message.put_string(profile.signatures.as_bytes());
        if profile.host_bound {
            message.put_string(b"publickey-hostbound@openssh.com");
            message.put_string(b"0");
        }
        self.sealer.seal(&message, &mut self.out);
    }
}

impl Names {
    /// Chooses as RFC 4253, section 7.1 says; the kind of name that is missing
    /// otherwise.
    fn agree(offer: &Offer, profile: &'static Profile) -> Result<Self, &'static str> {
        let pick =
            |index, ours: &'static str, what| kex::choose(offer.list(index), ours).ok_or(what);
        let kex = pick(list::KEX, profile.kex, "key exchange method")?;
        let host_key = pick(list::HOST_KEY, profile.host_keys, "host key type")?;
        let named = |index| -> Result<_, &'static str> {
            let name = pick(index, profile.ciphers, "cipher")?;
            Ok((name, cipher::Algorithm::named(name).ok_or("cipher")?))
        };
        let (cipher, cipher_in) = named(list::CIPHER_IN)?;
        let (_, cipher_out) = named(list::CIPHER_OUT)?;
        let mac = |index, cipher: cipher::Algorithm| -> Result<_, &'static str> {
            if cipher.authenticates() {
                return Ok(("<implicit>", None));
            }
            let name = pick(index, profile.macs, "MAC")?;
            Ok((name, Some(mac::Algorithm::named(name).ok_or("MAC")?)))
        };
        let (mac_name, mac_in) = mac(list::MAC_IN, cipher_in)?;
        let (_, mac_out) = mac(list::MAC_OUT, cipher_out)?;
        let compression = pick(list::COMPRESSION_IN, profile.compression, "compression method")?;
        let outward = pick(list::COMPRESSION_OUT, profile.compression, "compression method")?;
        let method = Method::named(kex).ok_or("key exchange method")?;
        let signer = Signer::named(host_key).ok_or("host key type")?;
        let chosen = Chosen { kex, host_key, cipher, mac: mac_name, compression };
        let compress = [compression != "none", outward != "none"];
        Ok(Self { chosen, method, signer, cipher_in, cipher_out, mac_in, mac_out, compress })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server() -> Arc<Server> {
        static SERVER: std::sync::LazyLock<Arc<Server>> = std::sync::LazyLock::new(|| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host-keys");
            let keys = HostKeys::load_or_make(Some(std::path::Path::new(folder))).unwrap();
            Arc::new(Server::of_profile("debian12", keys).unwrap())
        });
        Arc::clone(&SERVER)
    }

    /// A client's first bytes with the lists of the real server.
    fn hello(kex: &str) -> Vec<u8> {
        let mut message = vec![KEXINIT; 17];
        for list in [
            kex,
            "ssh-ed25519",
            "aes128-ctr",
            "aes128-ctr",
            "hmac-sha1",
            "hmac-sha1",
            "none",
            "none",
            "",
            "",
        ] {
            message.put_string(list.as_bytes());
        }
        message.extend_from_slice(&[0; 5]);
        let mut bytes = b"SSH-2.0-x\r\n".to_vec();
        Sealer::plain().seal(&message, &mut bytes);
        bytes
    }

    /// All that comes of some bytes, in pieces of `size`.
    fn feed(bytes: &[u8], size: usize) -> (Vec<Incoming>, Option<End>) {
        let mut transport = Transport::new(server());
        let mut all = Vec::new();
        for piece in bytes.chunks(size.max(1)) {
            transport.inbox().extend_from_slice(piece);
            loop {
                match transport.poll() {
                    Ok(Some(incoming)) => all.push(incoming),
                    Ok(None) => break,
                    Err(end) => return (all, Some(end)),
                }
            }
            assert!(transport.inbox.len() <= super::super::packet::MAX_EARLY_PACKET_BYTES + size);
            transport.take_output();
        }
        (all, None)
    }

    #[test]
    fn offers_without_a_common_name_are_told_before_the_end() {
        let (all, end) = feed(&hello("diffie-hellman-group1-sha1"), 7);
        assert!(matches!(&all[..], [Incoming::Version(_), Incoming::Offer(_)]), "{all:?}");
        assert_eq!(end, Some(End::Fault("no matching key exchange method found".to_owned())));
    }

    #[test]
    fn nothing_but_the_exchange_is_taken_in_a_strict_one() {
        let mut bytes = hello("curve25519-sha256,kex-strict-c-v00@openssh.com");
        Sealer::plain().seal(&[IGNORE, 0, 0, 0, 0], &mut bytes);
        let (_, end) = feed(&bytes, 1_000);
        let expected = "strict KEX violation: unexpected packet type 2 (seqnr 1)";
        assert_eq!(end, Some(End::Fault(expected.to_owned())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
            size in 1usize..300,
            begun in 0usize..3,
            messages in proptest::collection::vec(
                (20u8..40, proptest::collection::vec(any::<u8>(), 0..200)), 0..4),
        ) {
            let mut all = match begun {
                0 => Vec::new(),
                1 => b"SSH-2.0-x\r\n".to_vec(),
                _ => hello("curve25519-sha256,diffie-hellman-group-exchange-sha256"),
            };
            let mut sealer = Sealer::plain();
            for (kind, body) in messages {
                sealer.seal(&[&[kind][..], &body].concat(), &mut all);
            }
            all.extend_from_slice(&bytes);
            feed(&all, size);
        }
    }
}
