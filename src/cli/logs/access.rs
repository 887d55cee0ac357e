//! What a command shows to a log service: authorities, a certificate, a token.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::CommandError;
use super::escape::Safe;
use super::output::note;
use crate::log_service::client::{Address, CertPair, Credentials, Roots, Secret, Service};

/// Names the token's file when no argument does.
const VARIABLE: &str = "TOLLGATE_LOGS_TOKEN_FILE";

#[derive(Debug, Default, clap::Args)]
pub(super) struct AccessArgs {
    /// The authorities that vouch for a service over https, PEM. [default: the public ones]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show the service the token of this file. [default: the file that TOLLGATE_LOGS_TOKEN_FILE names, if it is set]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Show a service over https this certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl AccessArgs {
    /// The service at `address`, with everything that it is shown.
    pub(super) fn service(&self, address: &Address) -> Result<Service, CommandError> {
        if !matches!(address, Address::Https(_))
            && let Some(name) = self.of_tls()
        {
            return Err(CommandError::Usage(format!("{name} goes with an https:// service")));
        }
        let identity = self.cert.as_deref().zip(self.key.as_deref());
        let credentials = Credentials {
            roots: match &self.ca {
                None => Roots::Public,
                Some(path) => Roots::Pem { bytes: read(path)?, origin: path.display().to_string() },
            },
            identity: identity.map(|(cert, key)| pair(cert, key)).transpose()?,
            token: self.token(address)?,
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

    fn token(&self, address: &Address) -> Result<Option<Secret>, CommandError> {
        // A Unix socket asks for none.
        let is_wanted = !matches!(address, Address::Unix(_));
        let variable = std::env::var_os(VARIABLE).filter(|path| is_wanted && !path.is_empty());
        let Some(path) = self.token_file.clone().or(variable.map(PathBuf::from)) else { return Ok(None) };
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
