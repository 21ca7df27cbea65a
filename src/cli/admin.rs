//! The admin API of a running gateway: where it is, and what its refusals mean to whoever typed the command.

use anyhow::{Context as _, bail};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{Client, Reply};
use super::output;

/// Which gateway to ask, and by which right.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArgs {
    /// The gateway's admin listener
    #[arg(long, value_name = "URL", env = "OFFPEAK_ADMIN_URL", default_value = "http://127.0.0.1:8101", value_parser = url)]
    admin: String,
    /// The admin token, where one is set
    #[arg(long, env = "OFFPEAK_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print what the admin API returns, in JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A gateway's admin API.
pub(super) struct Admin {
    client: Client,
    json: bool,
}

impl AdminArgs {
    /// The way there.
    pub(super) fn open(self) -> anyhow::Result<Admin> {
        let mut headers = HeaderMap::new();
        // Compose files pass a variable on as an empty one when it is not set.
        if let Some(token) = self.token.filter(|token| !token.is_empty()) {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut bearer = bearer.ok().context("--token has characters that no token has")?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(Admin { client: Client::new(&self.admin, headers)?, json: self.json })
    }
}

impl Admin {
    /// Asks for what is at a path, and prints it: as it came, or as `shown` puts it for people.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        shown: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        self.print(self.client.get(path).await, shown)
    }

    /// Asks for a text at a path, and prints it as it came.
    pub(super) async fn get_text(&self, path: &str) -> anyhow::Result<()> {
        let text = self.answered(self.client.get(path).await)?;
        output::say(text.trim_end_matches('\n'))?;
        Ok(())
    }

    /// Sends a text, and prints the answer as it came.
    pub(super) async fn post_text(&self, path: &str, text: String) -> anyhow::Result<()> {
        let kind = [("content-type", "application/octet-stream")];
        let answer = self.answered(self.client.post(path, &kind, text).await)?;
        output::say(answer.trim_end_matches('\n'))?;
        Ok(())
    }

    /// Has something done, and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let body = self.answered(self.client.post(path, &[], String::new()).await)?;
        serde_json::from_str(&body).with_context(|| stranger(self.client.base()))
    }

    /// Whether the answer is wanted in JSON.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// Has something done, and prints the answer likewise.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        shown: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        self.print(self.client.post(path, &[], String::new()).await, shown)
    }

    /// Puts a question that is a JSON text, and prints the answer likewise.
    pub(super) async fn put_question<T: DeserializeOwned>(
        &self,
        path: &str,
        question: String,
        shown: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let headers = [("content-type", "application/json")];
        self.print(self.client.post(path, &headers, question).await, shown)
    }

    fn print<T: DeserializeOwned>(
        &self,
        reply: anyhow::Result<Reply>,
        shown: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let body = self.answered(reply)?;
        let answer: T = serde_json::from_str(&body).with_context(|| stranger(self.client.base()))?;
        output::say(if self.json { body.trim_end().to_owned() } else { shown(&answer) }.as_str())?;
        Ok(())
    }

    /// The body of what was answered well.
    fn answered(&self, reply: anyhow::Result<Reply>) -> anyhow::Result<String> {
        let remedy = "is a gateway running there? `offpeak serve` starts one, and --admin names another";
        accept(reply.map_err(|error| anyhow::anyhow!("{error:#}; {remedy}"))?, self.client.base())
    }
}

/// The body of a success; anything else is an error that says what to do about it.
fn accept(reply: Reply, base: &str) -> anyhow::Result<String> {
    if reply.status.is_success() {
        return Ok(reply.body);
    }
    // All errors of our own bear a code; somebody else's 401 must not be taken for a wrong admin token.
    if !reply.headers.contains_key("x-defer-error") {
        bail!("{} (it says {})", stranger(base), reply.status);
    }
    let message = serde_json::from_str(&reply.body).map_or(reply.body, |envelope: Envelope| envelope.error.message);
    match reply.status {
        StatusCode::UNAUTHORIZED => {
            bail!("{base} wants its admin token: give it with --token or in OFFPEAK_ADMIN_TOKEN")
        }
        _ => bail!("{message}"),
    }
}

fn stranger(base: &str) -> String {
    format!("{base} does not answer like an admin listener: check --admin (its usual port is 8101)")
}

fn url(text: &str) -> Result<String, String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    match uri.filter(|uri| uri.query().is_none()) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("a URL such as http://127.0.0.1:8101 is wanted".to_owned()),
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: Message,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<&'static str>, body: &str) -> String {
        let mut headers = HeaderMap::new();
        if let Some(code) = code {
            headers.insert("x-defer-error", HeaderValue::from_static(code));
        }
        let reply = Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_owned() };
        accept(reply, "http://gw").unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let body = r#"{"type":"error","error":{"type":"not_found_error","message":"there is no such deferral"}}"#;
        assert_eq!(refused(404, Some("not-found"), body), "there is no such deferral");
        assert!(refused(401, Some("unauthorized"), body).contains("--token"));
        let foreign = refused(401, None, body);
        assert!(foreign.contains("--admin") && !foreign.contains("--token"), "{foreign}");
    }

    #[test]
    fn a_url_is_http_and_ends_without_a_slash() {
        assert_eq!(url("http://127.0.0.1:8101/").as_deref(), Ok("http://127.0.0.1:8101"));
        assert_eq!(url("https://ops.example/offpeak").as_deref(), Ok("https://ops.example/offpeak"));
        for wrong in ["", "127.0.0.1:8101", "ftp://x", "http://x?y=z", "/api"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
