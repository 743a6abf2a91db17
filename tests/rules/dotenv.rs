//! `.env` line by line: what is ours is taken as it stands, what is not ours never matters. And
//! hosts that may be called.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::config::{AllowedHosts, DotEnv, is_remote_key};
use proptest::prelude::*;

fn ours(name: &str) -> bool {
    name.starts_with("ECHO_")
}

fn read(text: &[u8]) -> DotEnv {
    DotEnv::parse(text, &ours)
}

#[test]
fn a_value_is_taken_as_it_is_meant() {
    for (line, value) in [
        ("ECHO_A=b", "b"),
        ("  export ECHO_A = b  ", "b"),
        ("ECHO_A=b\r", "b"),
        ("ECHO_A='b c'", "b c"),
        ("ECHO_A=\"b c\" # why", "b c"),
        ("ECHO_A=b#c", "b#c"),
        ("ECHO_A=b # c", "b"),
        ("ECHO_A='a$b'", "a$b"),
        ("ECHO_A=\"a\\$b\\\"\"", "a$b\""),
        ("ECHO_A=a=b==", "a=b=="),
        ("ECHO_A=\u{e9}", "\u{e9}"),
        ("ECHO_A=\nECHO_A=YOUR_KEY\nECHO_A=b\nECHO_A=c", "b"),
    ] {
        assert_eq!(
            read(line.as_bytes())
                .value("ECHO_A")
                .map(|(value, _)| value),
            Some(value),
            "{line:?}"
        );
        assert_eq!(read(line.as_bytes()).malformed().count(), 0, "{line:?}");
    }
    for line in [
        "ECHO_A=",
        "ECHO_A=''",
        "#ECHO_A=b",
        "ECHO_AB=c",
        "OTHER=ECHO_A=b",
        "ECHO_A= # b",
    ] {
        assert_eq!(read(line.as_bytes()).value("ECHO_A"), None, "{line:?}");
    }
}

#[test]
fn a_line_of_ours_that_says_nothing_is_told_by_its_number_and_never_repeated() {
    for (line, told) in [
        (&b"ECHO_A=b c"[..], "quote"),
        (b"ECHO_A='b", "quote is not closed"),
        (b"ECHO_A: b", "NAME=value"),
        (b"ECHO_A", "NAME=value"),
        (b"ECHO_A=b\0c", "NUL"),
        (b"ECHO_A=\xe9", "UTF-8"),
        // What the environment has must not be carried off by the value of a file.
        (b"ECHO_A=http://x/$HOME", "not expanded"),
        (b"ECHO_A=\"${HOME}\"", "not expanded"),
        (b"ECHO_A=b\\", "backslash"),
    ] {
        let text = [b"FOO=bar baz\n", line, b"\nECHO_B=d\n"].concat();
        let file = read(&text);
        let wrong: Vec<_> = file.malformed().collect();
        assert!(
            wrong.len() == 1 && wrong[0].0 == "ECHO_A" && wrong[0].1 == 2,
            "{line:?}: {wrong:?}"
        );
        assert!(wrong[0].2.contains(told), "{line:?}: {wrong:?}");
        assert_eq!(
            (file.value("ECHO_A"), file.value("ECHO_B")),
            (None, Some(("d", 3)))
        );
    }
}

proptest! {
    #[test]
    fn what_is_not_ours_never_matters(
        before in prop::collection::vec(any::<u8>(), 0..200),
        after in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assume!(![&before, &after].iter().any(|text| text.windows(5).any(|five| five == b"ECHO_")));
        let text = [&before[..], b"\nECHO_A='it is'\n", &after].concat();
        let file = read(&text);
        prop_assert_eq!(file.value("ECHO_A").map(|(value, _)| value), Some("it is"));
        prop_assert_eq!(file.malformed().count(), 0);
    }
}

#[test]
fn only_variables_of_one_form_have_keys_to_other_sites() {
    for name in ["ECHO_REMOTE_KEY_A", "ECHO_REMOTE_KEY_fly_1"] {
        assert!(is_remote_key(name), "{name}");
    }
    for name in [
        "PATH",
        "ECHO_API_KEY",
        "ECHO_REMOTE_KEY_",
        "ECHO_REMOTE_KEY_A_FILE",
        "ECHO_REMOTE_KEY_A.B",
        "",
        " ",
    ] {
        assert!(!is_remote_key(name), "{name}");
    }
}

#[test]
fn a_host_is_one_of_those_that_may_be_called_or_it_is_not() {
    let hosts: AllowedHosts = "api.airtable.com, Echo.Example.com:8443,[::1],127.0.0.1:3000"
        .parse()
        .unwrap();
    for url in [
        "https://api.airtable.com/v0",
        "https://API.airtable.com.:444",
        "https://echo.example.com:8443/x",
        "http://[::1]:8080",
        "http://127.0.0.1:3000",
    ] {
        assert!(hosts.has(url), "{url}");
    }
    for url in [
        "https://echo.example.com",
        "https://airtable.com",
        "https://api.airtable.com.evil.example",
        "https://api.airtable.com@evil.example/",
        "https://evil.example\\@api.airtable.com/",
        "https://evil.example/?api.airtable.com",
        "http://127.0.0.1",
        "http://127.0.0.2:3000",
        "no address",
    ] {
        assert!(!hosts.has(url), "{url}");
    }
    for wrong in [
        "https://a.example",
        "a.example/b",
        "u@a.example",
        "*.example",
        "a b",
        "a.example,::1",
    ] {
        assert!(wrong.parse::<AllowedHosts>().is_err(), "{wrong}");
    }
}
