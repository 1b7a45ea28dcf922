//! Guesses are counted for each address, and which address it is a proxy may say.

use super::http::Caller;
use super::run::{Gateway, Launch};

const TOKEN: &str = "current-token-0123456789";

/// One who guesses tokens, by way of proxies that say this of them.
fn guess(gateway: &Gateway, number: usize, forwarded: Option<&str>) -> u16 {
    let mut caller = Caller::bearer(gateway.address, &format!("guess-{number}"));
    if let Some(forwarded) = forwarded {
        caller = caller.with("X-Forwarded-For", forwarded);
    }
    caller.knock().status
}

#[test]
fn the_eleventh_guess_has_to_wait_and_a_good_token_does_not() {
    let gateway = Launch::demo()
        .variable("DEMO_API_TOKEN", TOKEN)
        // Slow enough that no guess is given back meanwhile.
        .options(&["--credential-rate", "10/h"])
        .start();
    for number in 0..10 {
        assert_eq!(guess(&gateway, number, None), 401);
    }
    let limited = Caller::bearer(gateway.address, "guess-10").knock();
    assert_eq!(limited.status, 429);
    let wait = limited.field("retry-after").expect("it says when");
    assert!(wait.parse::<u32>().is_ok_and(|seconds| seconds > 0));
    // Nor does a malformed credential get past, and nor does one that was refused before.
    let malformed = Caller::new(gateway.address).with("Authorization", "Basic YTpi");
    assert_eq!(malformed.knock().status, 429);
    assert_eq!(guess(&gateway, 0, None), 429);
    // What is no guess goes on.
    let caller = Caller::bearer(gateway.address, TOKEN);
    assert_eq!(caller.knock().status, 200);
    assert_eq!(Caller::new(gateway.address).knock().status, 401);
    assert_eq!(Caller::new(gateway.address).get("/health").status, 200);
    gateway
        .stdout
        .wait_for(r#""reason":"too-many-credentials""#, 3);
}

#[test]
fn without_a_trusted_proxy_whatever_is_forwarded_says_nothing() {
    let gateway = Launch::demo()
        .variable("DEMO_API_TOKEN", TOKEN)
        .options(&["--credential-rate", "3/h"])
        .start();
    for number in 0..3 {
        let client = format!("198.51.100.{number}");
        assert_eq!(guess(&gateway, number, Some(&client)), 401);
    }
    assert_eq!(guess(&gateway, 3, Some("198.51.100.3")), 429);
    assert!(!gateway.stdout.text().contains("198.51.100"));
}

#[test]
fn behind_a_trusted_proxy_clients_are_told_apart() {
    let gateway = Launch::demo()
        .variable("DEMO_API_TOKEN", TOKEN)
        .options(&["--credential-rate", "3/h"])
        .options(&["--trusted-proxies", "127.0.0.1"])
        .start();
    for client in ["198.51.100.1", "198.51.100.2"] {
        for number in 0..3 {
            assert_eq!(guess(&gateway, number, Some(client)), 401);
        }
        assert_eq!(guess(&gateway, 3, Some(client)), 429);
        gateway.stdout.wait_for(&format!(r#""ip":"{client}""#), 4);
    }
    // What a client claims stands left of what the proxy adds.
    assert_eq!(guess(&gateway, 4, Some("203.0.113.9, 198.51.100.1")), 429);
    // One network is one customer.
    for (number, client) in (0..).zip(["2001:db8::1", "2001:db8::2", "2001:db8::3"]) {
        assert_eq!(guess(&gateway, number, Some(client)), 401);
    }
    assert_eq!(guess(&gateway, 3, Some("[2001:db8::4]:4711")), 429);
}
