//! A certificate authority of our own in a directory, for development: `ca.pem`, `ca.key`, and a pair per site.
//! Clients that trust `ca.pem` see no warning.
//!
//! Invariants: private keys are 0600 in a directory of 0700; a file is replaced whole or not at all; two processes
//! do not work on one directory at once. An existing `ca.key` is never replaced: somebody may trust it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::pair::{CertFacts, CertPair, inspect};
use crate::process::replace::durably;

const DAY: u64 = 86_400;
const CA_DAYS: u64 = 3_650;
const LEAF_DAYS: u64 = 90;
/// An authority that ends sooner than this is signed again, with its old key.
const CA_RENEW_DAYS: i64 = 365;

/// Why the local authority could not give a certificate.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("{}: {action}", path.display())]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{}: not a usable private key; move it away to get a new local authority", path.display())]
    BadKey { path: PathBuf, source: rcgen::Error },
    #[error("a local certificate needs at least one host name")]
    NoNames,
    #[error("the local certificate could not be made")]
    Make(#[from] rcgen::Error),
}

/// The authority's certificate, for people who want to trust it.
pub fn ca_path(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

/// A pair for `names`, from `dir`: the stored one while more than a third of its life remains and it covers all
/// names, else a new one. Makes directory and authority when they are missing. `now` is in Unix seconds.
///
/// Blocks: on the disk, and while another process works on the directory.
///
/// # Errors
/// The directory cannot be written, or holds an authority key that cannot be read.
pub fn ensure(dir: &Path, names: &[String], now: u64) -> Result<CertPair, LocalError> {
    let names = complete(names)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(at(dir, "cannot make the directory"))?;
    let _lock = lock(dir)?;
    let authority = Authority::open(dir, now)?;
    let files = Files::of(dir, &names);
    if let Some(pair) = files.read_usable(&names, &authority, now) {
        return Ok(pair);
    }
    let made = authority.sign(&names, now)?;
    // The key goes first: a crash in between leaves a pair that does not match, which is made again.
    write_whole(&files.key, made.key.as_bytes(), 0o600)?;
    write_whole(&files.chain, made.chain.as_bytes(), 0o644)?;
    Ok(made.into_pair(&files.chain))
}

/// What [`ensure`] would give, without writing anything: the stored pair when it is usable, else one made in
/// memory.
///
/// # Errors
/// No name was given, or the stored authority key cannot be read.
pub fn describe(dir: &Path, names: &[String], now: u64) -> Result<CertPair, LocalError> {
    let names = complete(names)?;
    let files = Files::of(dir, &names);
    let authority = match Authority::stored_key(dir)? {
        Some(key) => Authority::from_key(key, now),
        None => Authority::from_key(KeyPair::generate()?, now),
    };
    if let Some(pair) = files.read_usable(&names, &authority, now) {
        return Ok(pair);
    }
    Ok(authority.sign(&names, now)?.into_pair(&files.chain))
}

/// `localhost` is also reached by its addresses.
fn complete(names: &[String]) -> Result<Vec<String>, LocalError> {
    let mut all: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    if all.is_empty() {
        return Err(LocalError::NoNames);
    }
    if all.iter().any(|name| name == "localhost") {
        all.extend(["127.0.0.1", "::1"].map(str::to_owned));
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|name| seen.insert(name.clone()));
    Ok(all)
}

struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    /// Named after the first host; `*` and `:` are no good in file names.
    fn of(dir: &Path, names: &[String]) -> Self {
        let first = names.first().map_or("site", String::as_str);
        let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' };
        let name: String = first.trim_start_matches('.').chars().map(safe).collect();
        // `ca` is taken by the authority itself.
        let name = if name.is_empty() || name == "ca" { format!("site-{name}") } else { name };
        Self { chain: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
    }

    fn read_usable(&self, names: &[String], authority: &Authority, now: u64) -> Option<CertPair> {
        let origin = self.chain.display().to_string();
        let pair = CertPair { chain: fs::read(&self.chain).ok()?, key: fs::read(&self.key).ok()?, origin };
        let facts = inspect(&pair).ok()?;
        is_usable(&facts, names, &authority.name, now).then_some(pair)
    }
}

fn is_usable(facts: &CertFacts, names: &[String], authority: &str, now: u64) -> bool {
    let now = now.cast_signed();
    facts.key_matches
        && facts.issuer == format!("CN={authority}")
        && now >= facts.not_before
        && !facts.wants_renewal(now)
        && names.iter().all(|name| facts.covers(name))
}

struct Made {
    chain: String,
    key: String,
}

impl Made {
    fn into_pair(self, path: &Path) -> CertPair {
        CertPair {
            chain: self.chain.into_bytes(),
            key: self.key.into_bytes(),
            origin: path.display().to_string(),
        }
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    params: CertificateParams,
    name: String,
}

impl Authority {
    fn open(dir: &Path, now: u64) -> Result<Self, LocalError> {
        let key = match Self::stored_key(dir)? {
            Some(key) => key,
            None => {
                let key = KeyPair::generate()?;
                write_whole(&dir.join("ca.key"), key.serialize_pem().as_bytes(), 0o600)?;
                key
            }
        };
        let authority = Self::from_key(key, now);
        if !authority.is_stored(dir, now) {
            let certificate = authority.params.self_signed(authority.issuer.key())?;
            write_whole(&ca_path(dir), certificate.pem().as_bytes(), 0o644)?;
        }
        Ok(authority)
    }

    fn stored_key(dir: &Path) -> Result<Option<KeyPair>, LocalError> {
        let path = dir.join("ca.key");
        match fs::read_to_string(&path) {
            Ok(text) => match KeyPair::from_pem(&text) {
                Ok(key) => Ok(Some(key)),
                Err(source) => Err(LocalError::BadKey { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LocalError::Io { path, action: "cannot read", source }),
        }
    }

    /// Everything about the authority but its dates follows from its key, the name too: so two authorities never
    /// share a name, and the certificate can be signed again without asking the old one.
    fn from_key(key: KeyPair, now: u64) -> Self {
        let mut params = CertificateParams::default();
        let id: String =
            params.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("tollgate local CA {id}");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name.clone());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now, CA_DAYS);
        Self { issuer: Issuer::new(params.clone(), key), params, name }
    }

    fn is_stored(&self, dir: &Path, now: u64) -> bool {
        let (Ok(chain), Ok(key)) = (fs::read(ca_path(dir)), fs::read(dir.join("ca.key"))) else {
            return false;
        };
        let facts = inspect(&CertPair { chain, key, origin: String::new() });
        facts.is_ok_and(|facts| {
            facts.key_matches
                && facts.issuer == format!("CN={}", self.name)
                && facts.not_after - now.cast_signed() > CA_RENEW_DAYS * DAY.cast_signed()
        })
    }

    fn sign(&self, names: &[String], now: u64) -> Result<Made, LocalError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        // RFC 5280 appendix A.1: a common name has at most 64 characters.
        if let Some(first) = names.first().filter(|name| name.len() <= 64) {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LEAF_DAYS);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Made { chain: certificate.pem(), key: key.serialize_pem() })
    }
}

/// From a day ago, for clients whose clock is behind.
fn set_validity(params: &mut CertificateParams, now: u64, days: u64) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(DAY));
    params.not_after = epoch + Duration::from_secs(now.saturating_add(days * DAY));
}

/// Held until dropped.
fn lock(dir: &Path) -> Result<File, LocalError> {
    let path = dir.join(".lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = open.map_err(at(&path, "cannot open"))?;
    file.lock().map_err(at(&path, "cannot lock"))?;
    Ok(file)
}

fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), LocalError> {
    durably(path, bytes, mode).map_err(at(path, "cannot write"))
}

fn at(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> LocalError {
    let path = path.to_owned();
    move |source| LocalError::Io { path, action, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn keeps_a_pair_until_two_thirds_of_its_life_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let first = ensure(dir.path(), &names(&["localhost"]), NOW).unwrap();
        let same = ensure(dir.path(), &names(&["localhost"]), NOW + 50 * DAY).unwrap();
        let next = ensure(dir.path(), &names(&["localhost"]), NOW + 62 * DAY).unwrap();
        assert_eq!(first.chain, same.chain);
        assert_ne!(first.chain, next.chain);
    }

    #[test]
    fn a_new_name_makes_a_new_pair_of_the_same_authority() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path(), &names(&["a.test"]), NOW).unwrap();
        let ca = fs::read(ca_path(dir.path())).unwrap();
        let pair = ensure(dir.path(), &names(&["a.test", "*.b.test"]), NOW).unwrap();
        let facts = inspect(&pair).unwrap();
        assert!(facts.covers("x.b.test") && facts.covers("a.test"));
        assert_eq!(ca, fs::read(ca_path(dir.path())).unwrap());
    }

    #[test]
    fn localhost_is_also_good_for_its_addresses() {
        let pair = describe(Path::new("/nonexistent/certs"), &names(&["localhost"]), NOW).unwrap();
        let facts = inspect(&pair).unwrap();
        assert_eq!(facts.names, ["localhost", "127.0.0.1", "::1"]);
        assert!(facts.key_matches);
        assert_eq!(facts.findings(NOW.cast_signed(), ["localhost"]), []);
    }

    #[test]
    fn describe_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        describe(dir.path(), &names(&["localhost"]), NOW).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn keys_are_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let certs = dir.path().join("certs/local");
        ensure(&certs, &names(&["localhost"]), NOW).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&certs), 0o700);
        assert_eq!(mode(&certs.join("ca.key")), 0o600);
        assert_eq!(mode(&certs.join("localhost.key")), 0o600);
    }

    #[test]
    fn a_broken_authority_key_is_reported_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
        let error = ensure(dir.path(), &names(&["localhost"]), NOW).unwrap_err();
        assert!(matches!(error, LocalError::BadKey { .. }), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("ca.key")).unwrap(), "nonsense");
    }

    #[test]
    fn an_old_authority_is_signed_again_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path(), &names(&["localhost"]), NOW).unwrap();
        let (key, ca) =
            (fs::read(dir.path().join("ca.key")).unwrap(), fs::read(ca_path(dir.path())).unwrap());
        ensure(dir.path(), &names(&["localhost"]), NOW + (CA_DAYS - 300) * DAY).unwrap();
        assert_eq!(key, fs::read(dir.path().join("ca.key")).unwrap());
        assert_ne!(ca, fs::read(ca_path(dir.path())).unwrap());
    }

    #[test]
    fn host_names_cannot_leave_the_directory() {
        let files = Files::of(Path::new("/d"), &names(&["../../etc/x"]));
        assert_eq!(files.key.parent(), Some(Path::new("/d")));
        assert_eq!(Files::of(Path::new("/d"), &names(&["ca"])).key, Path::new("/d/site-ca.key"));
    }
}
