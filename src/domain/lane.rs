//! Lanes: what the headers of a batch fix for all its calls. Calls share a batch only if they share a lane.

use crate::secret::Secret;

/// The header in which a credential came, and in which it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text")]
pub enum CredentialHeader {
    /// `x-api-key: KEY`
    #[sqlx(rename = "x-api-key")]
    ApiKey,
    /// `authorization: Bearer KEY`
    #[sqlx(rename = "authorization")]
    Bearer,
}

/// What a caller acts as upstream.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The header that carries it.
    pub header: CredentialHeader,
    /// The key or token alone.
    pub secret: Secret,
}

/// The five things on which the calls of one batch must agree.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Whose calls these are.
    pub tenant: String,
    /// What they are sent with.
    pub credential: Credential,
    /// `anthropic-version`, if the caller sent one.
    pub version: Option<String>,
    /// `anthropic-beta` as a set: sorted, without repetition, joined by commas; may be empty.
    pub betas: String,
    /// `anthropic-workspace-id`, if the caller sent one.
    pub workspace_id: Option<String>,
    /// `anthropic-user-profile-id`, if the caller sent one.
    pub user_profile_id: Option<String>,
}

impl Lane {
    /// The lane's facts as one unambiguous byte string, from which its id is derived.
    pub fn identity(&self) -> Vec<u8> {
        let header = match self.credential.header {
            CredentialHeader::ApiKey => "x-api-key",
            CredentialHeader::Bearer => "authorization",
        };
        let optional = |value: &Option<String>| value.as_ref().map(|text| format!("={text}")).unwrap_or_default();
        let parts = [
            self.tenant.clone(),
            header.to_owned(),
            self.credential.secret.expose().to_owned(),
            optional(&self.version),
            self.betas.clone(),
            optional(&self.workspace_id),
            optional(&self.user_profile_id),
        ];
        // Each part behind its length, so that no two lanes read alike.
        parts.iter().flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.bytes())).collect()
    }
}

/// The set that one or more `anthropic-beta` headers name: sorted, without repetition, joined by commas.
pub fn beta_set<'a>(headers: impl Iterator<Item = &'a str>) -> String {
    let mut betas: Vec<&str> = headers.flat_map(|value| value.split(',')).map(str::trim).collect();
    betas.retain(|beta| !beta.is_empty());
    betas.sort_unstable();
    betas.dedup();
    betas.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_are_a_set() {
        assert_eq!(beta_set(["b, a", "", "a,c ,"].into_iter()), "a,b,c");
        assert_eq!(beta_set([].into_iter()), "");
    }

    #[test]
    fn different_lanes_differ() {
        let secret = || Secret::new("k");
        let lane = |version: Option<&str>, betas: &str, workspace: Option<&str>| Lane {
            tenant: "t".into(),
            credential: Credential { header: CredentialHeader::Bearer, secret: secret() },
            version: version.map(Into::into),
            betas: betas.into(),
            workspace_id: workspace.map(Into::into),
            user_profile_id: None,
        };
        let all = [
            lane(None, "", None),
            lane(Some(""), "", None),
            lane(Some("x"), "", None),
            lane(None, "x", None),
            lane(None, "", Some("x")),
        ];
        let mut ids: Vec<_> = all.iter().map(Lane::identity).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
    }
}
