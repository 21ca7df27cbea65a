//! Secrets are found where they are named, and shown nowhere.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::prelude::*;

use super::*;
use crate::deliver::SigningKey;

#[test]
fn the_admin_listener_wants_a_token_unless_it_is_on_loopback() {
    for (listen, wanted) in [
        ("127.0.0.1:1", false),
        ("127.9.9.9:1", false),
        ("[::1]:1", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("192.168.0.1:1", true),
    ] {
        let file = format!("admin.listen = \"{listen}\"");
        assert_eq!(load(&file, &[]).is_err(), wanted, "{listen}");
        assert!(load(&file, &[("OFFPEAK_ADMIN_TOKEN", "t")]).is_ok(), "{listen}");
    }
    let told = faults_of("admin.listen = \"0.0.0.0:1\"", &[("OFFPEAK_ADMIN_TOKEN", "")]);
    assert!(
        told[0].starts_with("FILE:1:16: admin.token: required") && told[0].contains("OFFPEAK_ADMIN_TOKEN"),
        "{told:?}"
    );
}

#[test]
fn secrets_are_found_where_they_are_named() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        format!("file:{}", path.display())
    };
    let token = |text: &str| {
        let variables = [("OFFPEAK__ADMIN__TOKEN", text), ("SET", "from-env"), ("EMPTY", "")];
        load("", &variables).map(|loaded| loaded.settings.admin.token.unwrap().expose().to_owned())
    };
    assert_eq!(token("env:SET").unwrap(), "from-env");
    assert_eq!(token(&write("token", b"from-file\n")).unwrap(), "from-file");
    assert_eq!(token("literal").unwrap(), "literal");
    for (text, expected) in [
        ("env:UNSET", "variable UNSET is not set"),
        ("env:EMPTY", "variable EMPTY is not set"),
        ("file:/nowhere/token", "/nowhere/token cannot be read"),
        (&write("empty", b"\n"), "the secret is empty"),
        (&write("binary", &[0xff, 0xfe]), "cannot be read"),
        (&write("long", &[b'a'; 9_000]), "at most 8000 visible ASCII characters"),
        ("two words", "at most 8000 visible ASCII characters"),
        ("", "the secret is empty"),
    ] {
        let told = token(text).unwrap_err();
        assert!(told.len() == 1 && told[0].contains(expected), "{text}: {told:?}");
        assert!(!told[0].contains("two words"), "{told:?}");
    }
}

#[test]
fn a_file_that_repeats_the_manual_asks_for_no_more_than_the_manual() {
    assert_eq!(load(MANUAL, &[]).unwrap().settings, load("", &[]).unwrap().settings);
    let told = faults_of(MANUAL, &[("DATABASE_URL", "postgres://db/x")]);
    assert!(told[0].contains("store.master_key: must be given with PostgreSQL"), "{told:?}");
}

#[test]
fn the_master_key_of_postgresql_is_read_and_never_made() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("master.key");
    let reference = format!("file:{}", path.display());
    let variables = [("DATABASE_URL", "postgres://db/x"), ("OFFPEAK__STORE__MASTER_KEY", reference.as_str())];
    assert!(faults_of("", &variables)[0].contains("cannot be read"));
    assert!(!path.exists());
    fs::write(&path, MASTER_KEY).unwrap();
    let given = load("", &variables).unwrap().settings.store.master_key;
    assert_eq!(given, KeySource::Given(MasterKey::parse(MASTER_KEY).unwrap()));
}

#[test]
fn keys_are_read_and_each_must_be_its_own() {
    let one = "[[key]]\nname = \"team-a\"\nsecret = \"sec-a\"\nupstream = \"env:UPSTREAM\"\n";
    let upstream = [("UPSTREAM", "sk-ant-1")];
    let keys = load(one, &upstream).unwrap().settings.intake.keys;
    let [secret, upstream_secret] = ["sec-a", "sk-ant-1"].map(Secret::new);
    assert_eq!(keys, [Key { name: "team-a".into(), secret, upstream: upstream_secret }]);

    let told = faults_of(&format!("{one}{one}"), &upstream);
    assert_eq!(
        told,
        [
            "FILE:6:8: key[1].name: another [[key]] is named \"team-a\"; names are unique",
            "FILE:7:10: key[1].secret: another [[key]] has this secret; every key needs its own",
        ]
    );
    let told = faults_of("[[key]]\nname = \"tnt_a\"\nsecret = 5\nscret = \"x\"\n[[key]]\nname = \"a b\"\n", &[]);
    assert_eq!(
        told,
        [
            "FILE:1:1: key[0].upstream: missing; expected a secret",
            "FILE:2:8: key[0].name: expected a name that does not begin with tnt_, as pseudonyms do",
            "FILE:3:10: key[0].secret: expected \"env:NAME\", \"file:PATH\" or the secret as a text",
            "FILE:4:1: key[0].scret: unknown key; did you mean \"secret\"?",
            "FILE:5:1: key[1].secret: missing; expected a secret",
            "FILE:5:1: key[1].upstream: missing; expected a secret",
            "FILE:6:8: key[1].name: expected a name of 1 to 64 of A-Z a-z 0-9 . _ -; found \"a b\"",
        ]
    );
}

#[test]
fn receivers_are_read_and_each_has_its_secret() {
    let [old, new] = [[1; 32], [2; 32]].map(|bytes| format!("whsec_{}", BASE64_STANDARD.encode(bytes)));
    let file = format!(
        "[[receiver]]\nname = \"warehouse\"\nurl = \"http://etl.internal:81/claude?token=tok3n\"\nsecret = \"env:WAREHOUSE\"\n\
         [[receiver]]\nname = \"b\"\nurl = \"https://b.example\"\nsecret = [\"{new}\", \"{old}\"]\n"
    );
    let Loaded { settings, effective } = load(&file, &[("WAREHOUSE", &old)]).unwrap();
    let [first, second] = settings.deliver.receivers.as_slice() else { panic!("two") };
    assert_eq!((first.name.as_str(), first.url.as_str()), ("warehouse", "http://etl.internal:81/claude?token=tok3n"));
    assert_eq!(first.keys, [SigningKey::of(&[1; 32])]);
    assert_eq!(second.keys, [SigningKey::of(&[2; 32]), SigningKey::of(&[1; 32])]);
    assert_eq!(settings.intake.receivers, ["warehouse", "b"]);
    let all = format!("{effective:?} {settings:?}");
    assert!(!all.contains("tok3n") && !all.contains(&old[6..]) && !all.contains(&new[6..]), "{all}");

    let told = faults_of(
        "[[receiver]]\nname = \"a\"\n[[receiver]]\nname = \"a\"\nurl = \"ftp://u:s3cret@x/\"\nsecret = [\"whsec_s3cret\"]\n",
        &[],
    );
    assert_eq!(
        told,
        [
            "FILE:1:1: receiver[0].secret: missing; expected a secret",
            "FILE:1:1: receiver[0].url: missing; expected an http or https URL without a fragment",
            "FILE:4:8: receiver[1].name: another [[receiver]] is named \"a\"; names are unique",
            "FILE:5:7: receiver[1].url: expected an http or https URL without a fragment; found \"ftp://***@x/\"",
            "FILE:6:10: receiver[1].secret: expected a secret of whsec_ and 24 to 64 random bytes in base64; \
             `echo whsec_$(openssl rand -base64 32)` makes such a secret",
        ]
    );
    for wrong in ["[]", "[\"env:UNSET\"]", "\"env:UNSET\"", "[\"env:OLD\", \"env:OLD\", \"env:OLD\"]"] {
        let file = format!("[[receiver]]\nname = \"a\"\nurl = \"https://a\"\nsecret = {wrong}\n");
        assert_eq!(faults_of(&file, &[("OLD", &old)]).len(), 1, "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_fault_shows_a_secret(key in prop::sample::select(vec!["admin.token", "store.master_key", "webhooks.secret"]),
                               form in 0..3_usize) {
        let secret = "s3cret-s3cret";
        let value = [format!("\"{secret} \\u0001\""), format!("[\"{secret}\", 5]"), format!("{{ x = \"{secret}\" }}")];
        let told = faults_of(&file_with(key, &value[form]), &[]);
        prop_assert!(told.iter().all(|fault| fault.contains(key) && !fault.contains(secret)), "{:?}", told);
    }
}
