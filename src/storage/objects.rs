//! S3, Google Cloud Storage and Azure, with the environment variables that their users know.

use std::error::Error as _;
use std::sync::Arc;

use http::StatusCode;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientOptions, Error, ObjectStore, RetryConfig};

use super::error::Reason;
use super::location::{Object, Store};
use super::settings::Settings;
use super::{StorageError, web};

const ADVICE_S3: &str = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and that this user may read there; \
                         AWS_SKIP_SIGNATURE=true reads public buckets";
const ADVICE_GS: &str = "check GOOGLE_APPLICATION_CREDENTIALS, and that this account may read there; \
                         GOOGLE_SKIP_SIGNATURE=true reads public buckets";
const ADVICE_AZURE: &str = "check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or AZURE_STORAGE_SAS_TOKEN, or \
                            AZURE_CLIENT_ID and its like), and that they may read there; AZURE_SKIP_SIGNATURE=true reads \
                            public containers";

/// Opens the store of an object, without asking it anything yet.
pub(super) fn store(
    object: &Object,
    settings: &Settings,
    shown: &str,
) -> Result<Arc<dyn ObjectStore>, StorageError> {
    web::install_tls();
    let (options, retry) = (client_options(settings, shown)?, retry(settings));
    let built: Result<Arc<dyn ObjectStore>, Error> = match &object.store {
        Store::S3 { bucket } => {
            let mut builder = AmazonS3Builder::new()
                .with_client_options(options)
                .with_retry(retry)
                .with_bucket_name(bucket);
            for (name, value) in s3_environment(settings) {
                if let Ok(key) = name.to_ascii_lowercase().parse() {
                    builder = builder.with_config(key, value);
                }
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
        Store::Gs { bucket } => {
            let mut builder = GoogleCloudStorageBuilder::new()
                .with_client_options(options)
                .with_retry(retry)
                .with_bucket_name(bucket);
            if let Some(emulator) = settings.variable("STORAGE_EMULATOR_HOST") {
                let url =
                    if emulator.contains("://") { emulator.to_owned() } else { format!("http://{emulator}") };
                builder = builder.with_base_url(&url).with_skip_signature(true);
            }
            for (name, value) in with_prefix(settings, "GOOGLE_") {
                if let Ok(key) = name.to_ascii_lowercase().parse() {
                    builder = builder.with_config(key, value);
                }
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
        Store::Azure { container, account, is_https } => {
            let mut builder = MicrosoftAzureBuilder::new()
                .with_client_options(options)
                .with_retry(retry)
                .with_container_name(container);
            let variables = azure_environment(settings);
            let is_anonymous = *is_https && variables.is_empty();
            for (name, value) in variables {
                if let Ok(key) = name.to_ascii_lowercase().parse() {
                    builder = builder.with_config(key, value);
                }
            }
            if is_anonymous {
                builder = builder.with_skip_signature(true);
            }
            if let Some(account) = account {
                builder = builder.with_account(account);
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
    };
    built.map_err(|error| StorageError::Denied {
        uri: shown.to_owned(),
        advice: advice(&object.store),
        source: Reason::innermost(&error),
    })
}

/// An object's key. It is taken literally; keys with an empty or a dotted segment cannot be asked for.
pub(super) fn path(key: &str, shown: &str) -> Result<Path, StorageError> {
    Path::parse(key).map_err(|error| StorageError::Uri { uri: shown.to_owned(), problem: error.to_string() })
}

/// What a store's error means.
pub(super) fn explained(error: &Error, object: &Object, settings: &Settings, shown: &str) -> StorageError {
    let uri = shown.to_owned();
    let advice = advice(&object.store);
    let source = if web::is_timeout(error) {
        Reason::new("it did not answer in time")
    } else {
        Reason::innermost(error)
    };
    match error {
        Error::NotFound { .. } => {
            let is_bucket = source.to_string().contains("NoSuchBucket");
            StorageError::NotFound {
                uri,
                detail: if is_bucket { "no such bucket".to_owned() } else { String::new() },
            }
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            StorageError::Denied { uri, advice, source }
        }
        Error::InvalidPath { source } => StorageError::Uri { uri, problem: source.to_string() },
        _ => match status(error) {
            // Of the metadata service, where there is one: it has no credentials for this machine.
            Some(status) if status.is_client_error() && !no_credentials(object, settings).is_empty() => {
                StorageError::Denied { uri, advice, source }
            }
            Some(status) if status.is_client_error() || status.is_redirection() => {
                StorageError::Refused { uri, source }
            }
            _ => StorageError::Unavailable { uri, advice: no_credentials(object, settings), source },
        },
    }
}

/// The library tells the status in words alone: its own type for it is private.
fn status(error: &Error) -> Option<StatusCode> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some((_, behind)) = error.to_string().split_once("non-2xx status code: ") {
            return behind.get(..3).and_then(|code| code.parse().ok());
        }
        next = error.source();
    }
    None
}

const fn advice(store: &Store) -> &'static str {
    match store {
        Store::S3 { .. } => ADVICE_S3,
        Store::Gs { .. } => ADVICE_GS,
        Store::Azure { .. } => ADVICE_AZURE,
    }
}

/// Without credentials in the environment the library asks the machine's metadata service, which only clouds have: the
/// failure is that service's, and the reason our environment.
fn no_credentials(object: &Object, settings: &Settings) -> &'static str {
    let has_any = |names: &[&str]| names.iter().any(|name| settings.variable(name).is_some());
    match &object.store {
        Store::S3 { .. }
            if !has_any(&[
                "AWS_ACCESS_KEY_ID",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_SKIP_SIGNATURE",
                "awsAnonymousCredential",
            ]) =>
        {
            ", and that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set (or AWS_SKIP_SIGNATURE=true, for a public bucket): \
             without them this machine's metadata service was asked for credentials"
        }
        Store::Gs { .. }
            if !has_any(&[
                "GOOGLE_APPLICATION_CREDENTIALS",
                "GOOGLE_SERVICE_ACCOUNT",
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                "GOOGLE_SKIP_SIGNATURE",
                "STORAGE_EMULATOR_HOST",
            ]) =>
        {
            ", and that GOOGLE_APPLICATION_CREDENTIALS is set (or GOOGLE_SKIP_SIGNATURE=true, for a public bucket): without it \
             this machine's metadata service was asked for credentials"
        }
        Store::Azure { .. } if azure_environment(settings).len() < 2 => {
            ", and that AZURE_STORAGE_ACCOUNT_KEY or other credentials are set: without them this machine's metadata service \
             was asked"
        }
        _ => "",
    }
}

/// Where a store is, to tell two of the same bucket apart.
pub(super) fn endpoint<'a>(store: &Store, settings: &'a Settings) -> &'a str {
    let names: &[&str] = match store {
        Store::S3 { .. } => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "S3_ENDPOINT"],
        Store::Gs { .. } => &["STORAGE_EMULATOR_HOST", "GOOGLE_BASE_URL"],
        Store::Azure { .. } => &[
            "AZURE_STORAGE_ENDPOINT",
            "AZURE_STORAGE_ACCOUNT_NAME",
            "AZURE_STORAGE_ACCOUNT",
            "AZURE_STORAGE_CONNECTION_STRING",
        ],
    };
    names.iter().find_map(|name| settings.variable(name)).unwrap_or_default()
}

fn client_options(settings: &Settings, shown: &str) -> Result<ClientOptions, StorageError> {
    let limits = &settings.limits;
    let mut options = ClientOptions::new()
        // Whoever sets an endpoint of http:// means it; the clouds' own are https://.
        .with_allow_http(true)
        .with_connect_timeout(limits.connect_timeout)
        .with_read_timeout(limits.idle_timeout)
        // A large object takes as long as it takes.
        .with_timeout_disabled();
    if settings.is_on("S3_VERIFY_SSL") == Some(false) {
        options = options.with_allow_invalid_certificates(true);
    }
    if let Some(bundle) = settings.variable("AWS_CA_BUNDLE") {
        let problem =
            |problem: String| StorageError::Setting { uri: shown.to_owned(), name: "AWS_CA_BUNDLE", problem };
        let pem = std::fs::read(bundle)
            .map_err(|error| problem(format!("names {bundle}, which cannot be read: {error}")))?;
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|error| problem(format!("names {bundle}, which holds no certificates: {error}")))?;
        options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
    }
    Ok(options)
}

fn retry(settings: &Settings) -> RetryConfig {
    let limits = &settings.limits;
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: limits.first_pause,
            max_backoff: limits.first_pause.saturating_mul(16),
            base: 2.0,
        },
        max_retries: usize::try_from(limits.n_retries).unwrap_or(usize::MAX),
        retry_timeout: limits.fetch_timeout,
    }
}

fn with_prefix<'a>(settings: &'a Settings, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    settings
        .environment
        .iter()
        .filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty())
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// AWS's own names, and what KServe's storage initializer sets where it goes another way.
fn s3_environment(settings: &Settings) -> Vec<(String, String)> {
    let mut variables: Vec<_> =
        with_prefix(settings, "AWS_").map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let own = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"];
    let has_own = own.iter().any(|name| settings.variable(name).is_some());
    if let Some(host) = settings.variable("S3_ENDPOINT").filter(|_| !has_own) {
        let scheme = if settings.is_on("S3_USE_HTTPS") == Some(false) { "http" } else { "https" };
        let url = if host.contains("://") { host.to_owned() } else { format!("{scheme}://{host}") };
        variables.push(("aws_endpoint".to_owned(), url));
    }
    if settings.is_on("awsAnonymousCredential") == Some(true) {
        variables.push(("aws_skip_signature".to_owned(), "true".to_owned()));
    }
    if settings.is_on("S3_USER_VIRTUAL_BUCKET") == Some(true) {
        variables.push(("aws_virtual_hosted_style_request".to_owned(), "true".to_owned()));
    }
    variables
}

/// Azure's names for accounts and keys are many; those of its command line and of connection strings are translated.
fn azure_environment(settings: &Settings) -> Vec<(String, String)> {
    let mut variables: Vec<_> =
        with_prefix(settings, "AZURE_").map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for (theirs, ours) in [
        ("AZURE_STORAGE_ACCOUNT", "azure_storage_account_name"),
        ("AZURE_STORAGE_KEY", "azure_storage_account_key"),
    ] {
        variables.extend(settings.variable(theirs).map(|value| (ours.to_owned(), value.to_owned())));
    }
    let parts = settings.variable("AZURE_STORAGE_CONNECTION_STRING").unwrap_or_default();
    for (name, value) in parts.split(';').filter_map(|part| part.split_once('=')) {
        let ours = match name {
            "AccountName" => "azure_storage_account_name",
            "AccountKey" => "azure_storage_account_key",
            "SharedAccessSignature" => "azure_storage_sas_token",
            "BlobEndpoint" => "azure_storage_endpoint",
            _ => continue,
        };
        variables.push((ours.to_owned(), value.to_owned()));
    }
    variables
}
