//! Tests of egress: every way to write an address that is not public, and names that lead to one.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;

const PUBLIC: &str = "93.184.215.14";

/// Rules as an operator sets them.
fn rules(allow_hosts: &[&str], allow_private: bool) -> Settings {
    let patterns = allow_hosts.iter().map(|text| HostPattern::parse(text).unwrap());
    Settings { allow_hosts: patterns.collect(), allow_private }
}

/// Names are what they lead to, joined by `and`: `10.0.0.1.and.8.8.8.8.example`.
fn egress(rules: Settings) -> Egress {
    Egress::resolving(rules, |name| {
        let name = name.trim_end_matches('.').strip_suffix(".example").ok_or(io::ErrorKind::NotFound)?;
        Ok(name.split(".and.").map(|address| address.replace('-', ":").parse().unwrap()).collect())
    })
}

async fn judged(rules: Settings, url: &str) -> Result<(), Forbidden> {
    let egress = egress(rules);
    egress.admit(&Url::parse(url).unwrap()).await
}

#[tokio::test]
async fn a_callback_is_https_and_public() {
    for url in [
        format!("https://{PUBLIC}/hook?token=1"),
        format!("https://{PUBLIC}.example:8443/"),
        format!("HTTPS://{PUBLIC}.EXAMPLE"),
        "https://[2606:4700::1111]/".to_owned(),
        "https://2606-4700--1111.example/".to_owned(),
        "https://nowhere.invalid/".to_owned(),
    ] {
        assert_eq!(judged(rules(&[], false), &url).await, Ok(()), "{url}");
    }
    for url in [format!("http://{PUBLIC}/"), format!("ftp://{PUBLIC}/"), "file:///etc/passwd".into(), "data:,x".into()]
    {
        assert_eq!(judged(rules(&[], false), &url).await, Err(Forbidden::Scheme), "{url}");
    }
    for url in ["https://me@a.example/", "https://:secret@a.example/", "https://me:secret@127.0.0.1/"] {
        assert_eq!(judged(rules(&["*.example", "127.0.0.1"], true), url).await, Err(Forbidden::UserInfo), "{url}");
    }
}

#[tokio::test]
async fn an_address_is_seen_through_however_it_is_written() {
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7F.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "0177.0x0.0.01",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
    ] {
        let url = format!("https://{host}/");
        let expected = Err(Forbidden::Address("loopback"));
        assert_eq!(judged(rules(&[], false), &url).await, expected, "{host}");
        let checked = egress(rules(&[], false)).check(&Url::parse(&url).unwrap());
        assert_eq!(checked, expected, "{host}: by its text alone");
    }
    for host in
        ["0", "0.0.0.0", "[::]", "10.1", "0xa9fea9fe", "[fe80::1]", "[fd00::1]", "[::127.0.0.1]", "[2002:7f00:1::]"]
    {
        let forbidden = judged(rules(&[], false), &format!("https://{host}/")).await;
        assert!(matches!(forbidden, Err(Forbidden::Address(_))), "{host}");
    }
}

#[tokio::test]
async fn a_name_must_not_lead_to_a_special_address() {
    for (host, kind) in [
        ("10.0.0.1.example", "private"),
        ("169.254.169.254.example", "link-local"),
        ("--1.example", "loopback"),
        ("93.184.215.14.and.192.168.0.1.example", "private"),
        ("--ffff-127.0.0.1.example", "loopback"),
    ] {
        let expected = Err(Forbidden::Address(kind));
        assert_eq!(judged(rules(&[], false), &format!("https://{host}/")).await, expected, "{host}");
    }
}

#[tokio::test]
async fn exceptions_are_made_for_hosts_or_for_all_addresses() {
    let allowed = ["*.internal", "127.0.0.1", "10.0.0.1.example"];
    for url in [
        "http://127.0.0.1:9000/",
        "https://127.1/",
        "http://10.0.0.1.example/",
        "http://a.internal/",
        "https://8.8.8.8/",
    ] {
        assert_eq!(judged(rules(&allowed, false), url).await, Ok(()), "{url}");
    }
    for url in ["http://127.0.0.2/", "https://10.0.0.2.example/", "http://8.8.8.8/", "ftp://127.0.0.1/"] {
        assert!(judged(rules(&allowed, false), url).await.is_err(), "{url}");
    }
    for url in ["https://127.0.0.1/", "https://localhost/", "https://10.0.0.2.example/"] {
        assert_eq!(judged(rules(&[], true), url).await, Ok(()), "{url}");
    }
    assert_eq!(judged(rules(&[], true), "http://127.0.0.1/").await, Err(Forbidden::Scheme));
}

async fn resolved(rules: Settings, name: &str) -> Result<Vec<String>, String> {
    let found = egress(rules).resolve(name).await.map_err(|error| error.to_string())?;
    Ok(found.iter().map(|address| address.ip().to_string()).collect())
}

#[tokio::test]
async fn only_public_addresses_are_connected_to() {
    assert_eq!(resolved(rules(&[], false), "10.0.0.1.and.8.8.8.8.example").await, Ok(vec!["8.8.8.8".to_owned()]));
    let forbidden = resolved(rules(&[], false), "10.0.0.1.and.--1.example").await.unwrap_err();
    assert_eq!(forbidden, "the name leads to an address that is loopback");
    assert_eq!(resolved(rules(&[], false), "a.localhost").await.unwrap_err(), forbidden);
    assert_eq!(resolved(rules(&[], false), "nowhere.invalid").await.unwrap_err(), "the name does not resolve");
    for rules in [rules(&["*.example"], false), rules(&[], true)] {
        assert_eq!(resolved(rules, "10.0.0.1.example").await, Ok(vec!["10.0.0.1".to_owned()]));
    }
}

#[tokio::test]
async fn rules_hold_as_soon_as_they_are_replaced() {
    let egress = egress(rules(&["*.example"], false));
    let url = Url::parse("https://10.0.0.1.example/").unwrap();
    assert_eq!(egress.admit(&url).await, Ok(()));
    egress.replace(&rules(&[], false));
    assert_eq!(egress.admit(&url).await, Err(Forbidden::Address("private")));
    assert!(egress.resolve("10.0.0.1.example").await.is_err());
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_many_calls_and_again_after_a_while() {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    let clock = Clock::manual(Timestamp::from_millis(0));
    let lookup = Lookup::new(|_| {
        LOOKS.fetch_add(1, Ordering::SeqCst);
        Ok(vec![PUBLIC.parse().unwrap()])
    });
    let egress = Egress::with_lookup(Settings::default(), clock.clone(), lookup);
    let url = Url::parse("https://a.example/").unwrap();
    let all = futures_util::future::join_all((0..100).map(|_| egress.admit(&url))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(LOOKS.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(30));
    egress.admit(&url).await.unwrap();
    // What is connected to is looked up each time.
    egress.resolve("a.example").await.unwrap();
    egress.resolve("a.example").await.unwrap();
    assert_eq!(LOOKS.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_takes_too_long_counts_as_one_that_does_not_resolve() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let egress = Egress::resolving(Settings::default(), move |_| {
        let _ = released.lock().unwrap().recv();
        Err(io::ErrorKind::TimedOut.into())
    });
    let url = Url::parse("https://slow.example/").unwrap();
    assert_eq!(after_some_time(egress.admit(&url)).await, Ok(()));
    assert!(matches!(after_some_time(egress.resolve("slow.example")).await, Err(ResolveError::Unresolved(None))));
    drop(release);
}

/// The outcome of what begins now and is looked at again when time has passed; a thread that is at it holds time still.
async fn after_some_time<T>(event: impl Future<Output = T>) -> T {
    let mut event = std::pin::pin!(event);
    assert!(futures_util::poll!(&mut event).is_pending());
    tokio::time::advance(Duration::from_secs(3)).await;
    event.await
}
