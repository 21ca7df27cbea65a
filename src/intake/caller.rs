//! Callers: who holds the credential of a call, and what it acts as upstream.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::domain::lane::{Credential, CredentialHeader};
use crate::intake::Key;
use crate::secret::{Secret, Vault};

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name of a key that the gateway issued, else a stable pseudonym of the credential.
    pub tenant: String,
    /// What they act as upstream, in the header in which they sent theirs.
    pub credential: Credential,
    /// Whether an issued key was presented, which another one stands in for upstream.
    pub is_issued: bool,
}

/// Subscription login tokens begin like this; the provider's batches do not take them.
const LOGIN_TOKEN_PREFIX: &str = "sk-ant-oat";

impl Caller {
    /// Whether it acts by a subscription's login token.
    pub fn is_login(&self) -> bool {
        self.credential.secret.expose().starts_with(LOGIN_TOKEN_PREFIX)
    }

    /// Reads the credential of a request; `None` if it carries none.
    ///
    /// Where both headers stand (some clients send their key in each), `x-api-key` counts, as with the provider.
    pub(super) fn read(headers: &HeaderMap, keys: &[Key], vault: &Vault) -> Option<Self> {
        let (header, presented) = presented(headers)?;
        if let Some(key) = keys.iter().find(|key| key.secret.matches(presented.as_bytes())) {
            let credential = Credential { header, secret: key.upstream.clone() };
            return Some(Self { tenant: key.name.clone(), credential, is_issued: true });
        }
        let pseudonym = uuid::Uuid::from_bytes(vault.pseudonym("tenant", presented.as_bytes()));
        let credential = Credential { header, secret: Secret::new(presented) };
        Some(Self { tenant: format!("tnt_{}", pseudonym.simple()), credential, is_issued: false })
    }
}

fn presented(headers: &HeaderMap) -> Option<(CredentialHeader, &str)> {
    let key = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        return Some((CredentialHeader::ApiKey, key));
    }
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some((CredentialHeader::Bearer, token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::MasterKey;

    fn caller(pairs: &[(&'static str, &str)]) -> Option<Caller> {
        let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let key = Key { name: "team".into(), secret: Secret::new("gw-1"), upstream: Secret::new("sk-up") };
        Caller::read(
            &headers,
            &[key],
            &Vault::new(&MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap()),
        )
    }

    #[test]
    fn a_key_is_the_same_tenant_in_either_header() {
        let (key, bearer) = (caller(&[("x-api-key", "k")]).unwrap(), caller(&[("authorization", "Bearer k")]).unwrap());
        assert_eq!(key.tenant, bearer.tenant);
        assert_eq!(key.credential.header, CredentialHeader::ApiKey);
        assert_eq!(bearer.credential.header, CredentialHeader::Bearer);
        assert!(key.tenant.starts_with("tnt_") && !key.tenant.contains('k'));
        assert_ne!(key.tenant, caller(&[("x-api-key", "K")]).unwrap().tenant);
    }

    #[test]
    fn an_issued_key_stands_for_another() {
        let caller = caller(&[("authorization", "bearer gw-1")]).unwrap();
        assert_eq!((caller.tenant.as_str(), caller.credential.secret.expose()), ("team", "sk-up"));
        assert!(caller.is_issued);
    }

    #[test]
    fn no_credential_is_nobody() {
        for headers in [&[][..], &[("x-api-key", "")], &[("authorization", "Basic x")], &[("authorization", "Bearer ")]]
        {
            assert!(caller(headers).is_none());
        }
        assert_eq!(
            caller(&[("x-api-key", "a"), ("authorization", "Bearer b")]).unwrap().credential.secret.expose(),
            "a"
        );
    }
}
