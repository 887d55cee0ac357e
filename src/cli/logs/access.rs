//! What a command shows to a log service: authorities, a certificate, a token.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::CommandError;
use super::escape::Safe;
use super::output::note;
use crate::config::Records;
use crate::config::words::Text;
use crate::log_service::client::{Address, CertPair, Credentials, Roots, Secret, Service};

/// Names the token's file when no argument does.
const VARIABLE: &str = "TOLLGATE_LOGS_TOKEN_FILE";

#[derive(Debug, Default, clap::Args)]
pub(super) struct AccessArgs {
    /// The authorities that vouch for a service over https, PEM. [default: `ca` of [log] when the configuration
    /// names the service, or the public ones]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show the service the token of this file. [default: the file that TOLLGATE_LOGS_TOKEN_FILE names, if it
    /// is set, or `token` of [log] when the configuration names the service]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Show a service over https this certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// What a configuration has its log service shown.
#[derive(Default)]
pub(super) struct Known {
    token: Option<Secret>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Known {
    pub(super) fn of(records: &Records) -> Self {
        let path = |text: &Option<Text>| text.as_ref().map(|text| PathBuf::from(&**text));
        Self {
            token: records.token.as_ref().map(|token| Secret(token.to_string())),
            ca: path(&records.ca),
            cert: path(&records.cert),
            key: path(&records.key),
        }
    }
}

impl AccessArgs {
    /// The service at `address`, with everything that it is shown by the arguments.
    pub(super) fn service(&self, address: &Address) -> Result<Service, CommandError> {
        self.service_of(address, Known::default())
    }

    /// The same for a service that a configuration names, with what it says where the arguments say nothing.
    pub(super) fn service_of(&self, address: &Address, known: Known) -> Result<Service, CommandError> {
        if !matches!(address, Address::Https(_))
            && let Some(name) = self.of_tls()
        {
            return Err(CommandError::Usage(format!("{name} goes with an https:// service")));
        }
        let is_tls = matches!(address, Address::Https(_));
        let written = self.cert.as_deref().zip(self.key.as_deref());
        let identity = written.or(known.cert.as_deref().zip(known.key.as_deref())).filter(|_| is_tls);
        let credentials = Credentials {
            roots: match self.ca.as_ref().or(known.ca.as_ref()).filter(|_| is_tls) {
                None => Roots::Public,
                Some(path) => Roots::Pem { bytes: read(path)?, origin: path.display().to_string() },
            },
            identity: identity.map(|(cert, key)| pair(cert, key)).transpose()?,
            token: self.token(address, known.token)?,
        };
        Ok(Service::new(address.clone(), &credentials)?)
    }

    /// Without a service there is nobody to show anything to.
    pub(super) fn is_empty(&self) -> bool {
        self.of_tls().is_none() && self.token_file.is_none()
    }

    fn of_tls(&self) -> Option<&'static str> {
        self.ca.as_ref().map(|_| "--ca").or(self.cert.as_ref().map(|_| "--cert"))
    }

    fn token(&self, address: &Address, known: Option<Secret>) -> Result<Option<Secret>, CommandError> {
        // A Unix socket asks for none.
        let is_wanted = !matches!(address, Address::Unix(_));
        let variable = std::env::var_os(VARIABLE).filter(|path| is_wanted && !path.is_empty());
        let Some(path) = self.token_file.clone().or(variable.map(PathBuf::from)) else {
            return Ok(known.filter(|_| is_wanted));
        };
        warn_when_open(&path);
        let bytes = read(&path)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        match lines.next() {
            Some(token) => Ok(Some(Secret(token.to_owned()))),
            None => Err(CommandError::Usage(format!("there is no token in {}", shown(&path)))),
        }
    }
}

/// Says so when others than its owner may read a secret.
pub(super) fn warn_when_open(path: &Path) {
    let mode = std::fs::metadata(path).map_or(0, |facts| facts.permissions().mode() & 0o7777);
    if mode & 0o044 != 0 {
        note(&format!("warning: {0} is readable by others (mode {mode:04o}): chmod 600 {0}", shown(path)));
    }
}

fn pair(cert: &Path, key: &Path) -> Result<CertPair, CommandError> {
    warn_when_open(key);
    Ok(CertPair { chain: read(cert)?, key: read(key)?, origin: cert.display().to_string() })
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    std::fs::read(path).map_err(|error| CommandError::Read(format!("cannot read {}", shown(path)), error))
}

fn shown(path: &Path) -> String {
    Safe(&path.display().to_string()).to_string()
}
