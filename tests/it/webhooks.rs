//! Webhooks: who is told what, signed how, when it is tried again, and where it may not go.

mod fairness;
mod operator;
mod reach;
mod receiver;
mod schedule;
mod telling;

use http::Method;
use serde_json::Value;

use super::app::{Engine, Setup, TestApp, body};

pub(crate) use receiver::{Got, Receiver, Reply, is_signed};

/// `whsec_` and 24 bytes in base64 each.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const OLD_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// A gateway whose callers may name receivers on this machine.
fn setup(engine: Engine) -> Setup {
    Setup::on(engine).set("webhooks.allow_hosts", "127.0.0.1").set("webhooks.secret", SECRET)
}

/// A settings section for a receiver.
fn section(name: &str, url: &str, secret: &str) -> String {
    format!("[[receiver]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret = {secret}\n")
}

impl TestApp {
    /// Defers a call whose result is wanted at `callback`, and gives its id.
    async fn defer_to(&self, callback: &str, prompt: &str) -> String {
        self.tagged(body(prompt)).header("x-defer-callback", callback).send().await.id()
    }

    /// The delivery of a deferral, with its attempts, as the operator sees it.
    async fn delivery_of(&self, deferral: &str) -> Value {
        let path = format!("/api/deliveries/{}?history=1", delivery_id(deferral));
        self.operator(Method::GET, &path).send().await.expect(200).json()
    }
}

/// The id of the delivery that tells of a deferral.
fn delivery_id(deferral: &str) -> String {
    deferral.replacen("dfr_", "dlv_", 1)
}
