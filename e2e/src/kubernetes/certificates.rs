//! The control plane's certificates, made in the process by `rcgen`: nothing but Cargo is needed for them, and the
//! hundred lines of an `openssl` script with its temporary files are spared.
//!
//! Every key is an ECDSA one on P-256, also that which signs the tokens of service accounts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::secret;

/// A client of the API server that shows a certificate.
pub(super) struct Identity {
    /// Name of its files.
    pub(super) name: &'static str,
    /// Its user name.
    user: &'static str,
    /// Its group.
    group: Option<&'static str>,
}

/// The administrator.
pub(super) const ADMIN: &str = "admin";
/// The controller manager.
pub(super) const CONTROLLER_MANAGER: &str = "controller-manager";

/// All that show a certificate; users' programs show tokens.
pub(super) const IDENTITIES: [Identity; 2] = [
    Identity { name: ADMIN, user: "admin", group: Some("system:masters") },
    Identity { name: CONTROLLER_MANAGER, user: "system:kube-controller-manager", group: None },
];

/// The certificate authority's certificate.
pub(super) fn authority(folder: &Path) -> PathBuf {
    folder.join("certificates/authority.crt")
}

/// The certificate of the API server or an identity.
pub(super) fn certificate(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("certificates/{name}.crt"))
}

/// The private key of the API server or an identity.
pub(super) fn key(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("certificates/{name}.key"))
}

/// The key that signs the tokens of service accounts.
pub(super) fn token_key(folder: &Path) -> PathBuf {
    key(folder, "tokens")
}

/// What those tokens are checked with.
pub(super) fn token_public_key(folder: &Path) -> PathBuf {
    folder.join("certificates/tokens.pub")
}

/// Writes all certificates and keys of a control plane at this address.
pub(super) fn write(folder: &Path, host: &str) -> Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "test bed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority_key = KeyPair::generate().context("make a key")?;
    let own = params.self_signed(&authority_key).context("make the authority's certificate")?;
    secret::write(&authority(folder), &own.pem())?;
    let issuer = Issuer::new(params, authority_key);

    let names = [host, "localhost", "kubernetes.default.svc"].map(str::to_owned);
    let mut server = CertificateParams::new(names).context("the API server's names")?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(folder, "apiserver", server, &issuer)?;
    for identity in &IDENTITIES {
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, identity.user);
        if let Some(group) = identity.group {
            client.distinguished_name.push(DnType::OrganizationName, group);
        }
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        sign(folder, identity.name, client, &issuer)?;
    }
    let tokens = KeyPair::generate().context("make a key")?;
    secret::write(&token_key(folder), &tokens.serialize_pem())?;
    secret::write(&token_public_key(folder), &tokens.public_key_pem())
}

fn sign(folder: &Path, name: &str, mut params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let own = KeyPair::generate().context("make a key")?;
    let signed = params.signed_by(&own, issuer).with_context(|| format!("sign the certificate of {name}"))?;
    secret::write(&certificate(folder, name), &signed.pem())?;
    secret::write(&key(folder, name), &own.serialize_pem())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn all_files_are_there_and_ours_alone() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "127.0.30.1").unwrap();
        let mut files = vec![authority(folder.path()), token_key(folder.path())];
        for name in ["apiserver", ADMIN, CONTROLLER_MANAGER] {
            files.extend([certificate(folder.path(), name), key(folder.path(), name)]);
        }
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let kind = if file.extension().unwrap() == "key" { "PRIVATE KEY" } else { "CERTIFICATE" };
            assert!(text.starts_with(&format!("-----BEGIN {kind}-----")), "{}: {text}", file.display());
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
    }
}
