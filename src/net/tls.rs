//! A certificate that changes while it is in use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::{fmt, io};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}; check `tls` and the volume mount", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is no PEM of what it should hold.
    #[error("{} holds no {what} in PEM", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The two do not belong together, as in the moment between two writes.
    #[error("the certificate {} does not fit its key; it is looked at again", .path.display())]
    Mismatch {
        /// The certificate.
        path: PathBuf,
        /// In the words of rustls.
        source: rustls::Error,
    },
}

/// The certificate that new connections get. Those that are open keep what they were opened with.
#[derive(Default)]
pub struct Certificate(RwLock<Option<Arc<CertifiedKey>>>);

impl Certificate {
    /// Whether there is one.
    pub fn is_loaded(&self) -> bool {
        self.current().is_some()
    }

    fn current(&self) -> Option<Arc<CertifiedKey>> {
        // Whole whoever may have panicked: it is replaced in one move.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("is_loaded", &self.is_loaded()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The same as the last time.
    Same,
    /// Another certificate, which is in force now.
    Loaded,
}

/// The files of a certificate, looked at again and again: Kubernetes swaps links, which `inotify` does not see through.
#[derive(Debug)]
pub struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    seen: Option<(Vec<u8>, Vec<u8>)>,
    current: Arc<Certificate>,
}

impl CertificateFiles {
    /// Of these files; nothing is read before [`look`](Self::look).
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, seen: None, current: Arc::default() }
    }

    /// The certificate in force.
    pub fn current(&self) -> Arc<Certificate> {
        Arc::clone(&self.current)
    }

    /// Reads the files, and takes what is in them if it is new. What is in force stays so on an error, which is told once for the
    /// same content.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be read, or what is new in it cannot be used.
    pub fn look(&mut self) -> Result<Looked, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
        };
        let files = (read(&self.certificate)?, read(&self.key)?);
        if self.seen.as_ref() == Some(&files) {
            return Ok(Looked::Same);
        }
        let loaded = self.certified(&files.0, &files.1);
        self.seen = Some(files);
        self.current.replace(loaded?);
        Ok(Looked::Loaded)
    }

    fn certified(&self, certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
        let no_pem = |path: &Path, what| TlsError::Pem { path: path.to_owned(), what };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .ok()
            .filter(|chain: &Vec<_>| !chain.is_empty())
            .ok_or_else(|| no_pem(&self.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| no_pem(&self.key, "private key"))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|source| TlsError::Mismatch { path: self.certificate.clone(), source })
    }
}

/// TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1, with the certificate of the moment.
///
/// # Errors
/// If ring does not know the protocol versions, which it does.
pub fn server_config(certificate: Arc<Certificate>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
