//! Who calls, and how: the credential, its workspace, the API version, the betas.
//!
//! Any key is good unless it contains `invalid`; a login token (`sk-ant-oat…`) needs the `oauth-2025-04-20` beta. Keys
//! that agree up to their last `-` belong to one workspace (`sk-ant-red-1` and `sk-ant-red-2`, not `sk-ant-blue-1`);
//! the header `anthropic-workspace-id` chooses another.

use std::collections::BTreeSet;

use http::HeaderMap;

use super::digest::hex_of;
use super::error::ApiError;

/// Which version of the API a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// `2023-06-01`
    V2023,
    /// `2026-10-21`, which refuses sampling parameters
    V2026,
}

/// A caller who may come in.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) workspace: String,
    pub(super) version: Version,
    pub(super) betas: BTreeSet<String>,
    pub(super) user_profile: Option<String>,
}

impl Caller {
    /// Checks the headers of a request, in the order in which the provider does.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let betas = betas(headers);
        let key =
            credential(headers).ok_or_else(|| ApiError::of("authentication_error", "x-api-key header is required"))?;
        if key.contains("invalid") {
            return Err(ApiError::of("authentication_error", "invalid x-api-key"));
        }
        if key.starts_with("sk-ant-oat") && !betas.contains("oauth-2025-04-20") {
            return Err(ApiError::of("authentication_error", "OAuth authentication is currently not supported."));
        }
        let workspace = text(headers, "anthropic-workspace-id").map_or_else(|| workspace_of(key), str::to_owned);
        let version = match text(headers, "anthropic-version") {
            Some("2023-06-01") => Version::V2023,
            Some("2026-10-21") => Version::V2026,
            Some(other) => {
                return Err(ApiError::invalid(format!("anthropic-version: \"{other}\" is not a valid version")));
            }
            None => return Err(ApiError::invalid("anthropic-version: header is required")),
        };
        if let Some(unknown) = betas.iter().find(|beta| beta.starts_with("unknown-")) {
            return Err(ApiError::invalid(format!("Unexpected value(s) `{unknown}` for the `anthropic-beta` header.")));
        }
        let user_profile = text(headers, "anthropic-user-profile-id").map(str::to_owned);
        Ok(Self { workspace, version, betas, user_profile })
    }
}

/// The key or token of a request: that of `x-api-key`, else the bearer of `authorization`.
pub(super) fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = || {
        let (scheme, token) = text(headers, "authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    };
    text(headers, "x-api-key").or_else(bearer).filter(|key| !key.is_empty())
}

/// The workspace that a key belongs to unless a header says otherwise.
fn workspace_of(key: &str) -> String {
    let shared = key.rsplit_once('-').map_or(key, |(shared, _)| shared);
    format!("wrkspc_{}", &hex_of(shared)[..24])
}

fn betas(headers: &HeaderMap) -> BTreeSet<String> {
    let lists = headers.get_all("anthropic-beta").iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|beta| !beta.is_empty()).map(str::to_owned).collect()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(lines: &[(&'static str, &str)]) -> Result<Caller, (u16, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        Caller::of(&headers).map_err(|error| (error.status, error.message))
    }

    const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

    #[test]
    fn a_key_is_the_same_caller_in_either_header() {
        let by_key = caller(&[("x-api-key", "sk-ant-red-1"), VERSION]).ok().unwrap();
        let by_bearer = caller(&[("authorization", "Bearer sk-ant-red-2"), VERSION]).ok().unwrap();
        let other = caller(&[("authorization", "bearer sk-ant-blue-1"), VERSION]).ok().unwrap();
        assert_eq!(by_key.workspace, by_bearer.workspace);
        assert_ne!(by_key.workspace, other.workspace);
        let chosen = caller(&[("x-api-key", "sk-ant-red-1"), VERSION, ("anthropic-workspace-id", "w")]).ok().unwrap();
        assert_eq!(chosen.workspace, "w");
    }

    #[test]
    fn refuses_who_may_not_come_in() {
        let key = ("x-api-key", "sk-ant-red-1");
        for (lines, status) in [
            (vec![VERSION], 401),
            (vec![VERSION, ("x-api-key", "")], 401),
            (vec![VERSION, ("authorization", "Basic abc")], 401),
            (vec![VERSION, ("x-api-key", "sk-ant-invalid-1")], 401),
            (vec![VERSION, ("authorization", "Bearer sk-ant-oat01-x")], 401),
            (vec![key], 400),
            (vec![key, ("anthropic-version", "2024-01-01")], 400),
            (vec![key, VERSION, ("anthropic-beta", "fine, unknown-thing")], 400),
        ] {
            assert_eq!(caller(&lines).err().map(|(status, _)| status), Some(status), "{lines:?}");
        }
    }

    #[test]
    fn betas_come_as_a_list_or_repeated() {
        let caller = caller(&[
            ("authorization", "Bearer sk-ant-oat01-x"),
            ("anthropic-version", "2026-10-21"),
            ("anthropic-beta", "b, a"),
            ("anthropic-beta", "oauth-2025-04-20"),
        ])
        .ok()
        .unwrap();
        assert_eq!(caller.betas.into_iter().collect::<Vec<_>>(), ["a", "b", "oauth-2025-04-20"]);
        assert_eq!(caller.version, Version::V2026);
    }
}
