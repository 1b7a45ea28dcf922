//! How often: credentials that fail, questions to verifiers, requests without a token.

use std::time::Duration;

use mcp_proto::auth::Rate;
use mcp_proto_sim::jwt;

use super::*;

fn scene() -> Scene {
    begin(gateway(vec![
        tokens(&[("ann", "static")]),
        Verifier::Jwt(signed()),
        Verifier::Custom,
    ]))
}

/// Sends a request, and has the embedder say no if they are asked.
fn refused(scene: &mut Scene, request: Request) -> (Asked, Refusal) {
    let asked = scene.send(request);
    if !scene.outside.is_empty() {
        let (verification, _) = scene.verification();
        scene.verifies(verification, Verdict::Denied);
    }
    (asked, outcome(scene, asked))
}

/// Presents other tokens until there were too many, and says how many there were.
fn use_up(scene: &mut Scene, from: &str) -> usize {
    let name = from.replace(':', "-");
    for n in 0.. {
        let request = knock().from(from).bearer(&format!("wrong{name}.{n}"));
        if refused(scene, request).1 == Refusal::TooManyCredentials {
            return n;
        }
    }
    unreachable!("there is a limit");
}

#[track_caller]
fn retry_after(scene: &Scene, asked: Asked) -> Duration {
    let seconds = scene.response(asked).field("retry-after");
    Duration::from_secs(seconds.expect("a time").parse().unwrap())
}

#[test]
fn whatever_fails_counts() {
    for requests in [
        ["wrong", "wrong"],
        ["wrong", "other"],
        ["=", "a b"],
        ["eyJ", "eyJhbGciOiJub25lIn0.e30."],
    ] {
        let mut scene = scene();
        for n in 0..12 {
            let request = knock().bearer(requests[n % 2]);
            let (asked, refusal) = refused(&mut scene, request);
            assert_eq!(refusal == Refusal::TooManyCredentials, n >= 10, "{n}");
            assert_turned_away(&mut scene, asked, refusal);
        }
    }
}

#[test]
fn questions_count_whatever_the_answer() {
    for verdict in [allowed("ann"), Verdict::Denied, Verdict::Unavailable] {
        let mut scene = scene();
        for n in 0..10 {
            scene.send(knock().bearer(&format!("t{n}")));
            let (verification, _) = scene.verification();
            scene.verifies(verification, verdict.clone());
        }
        let asked = scene.send(knock().bearer("last"));
        scene.assert_nobody_is_asked();
        assert_turned_away(&mut scene, asked, Refusal::TooManyCredentials);
        assert_eq!(retry_after(&scene, asked), Duration::from_secs(6));
    }
}

#[test]
fn a_signature_that_is_in_order_is_no_question() {
    let mut scene = scene();
    for n in 0..30 {
        let claims = with(claims(&scene), "jti", json!(n));
        let asked = scene.send(knock().bearer(&jwt(&header(), &claims)));
        let check = scene.check();
        scene.checks(&check, true);
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
    assert_eq!(use_up(&mut scene, "127.0.0.1"), 10);
}

#[test]
fn a_token_that_is_known_to_be_good_is_never_refused() {
    let mut scene = scene();
    scene.send(knock().bearer("good"));
    let (verification, _) = scene.verification();
    scene.verifies(verification, allowed("ann"));
    use_up(&mut scene, "127.0.0.1");
    while refused(&mut scene, knock()).1 != Refusal::TooManyProbes {}
    for _ in 0..200 {
        for good in ["good", "static"] {
            let asked = scene.send(knock().bearer(good));
            assert_eq!(outcome(&scene, asked), LET_IN);
        }
    }
    // Nor when it is asked about again.
    for _ in 0..3 {
        scene.wait_secs(60);
        use_up(&mut scene, "127.0.0.1");
        let asked = scene.send(knock().bearer("good"));
        let (verification, _) = scene.verification();
        scene.verifies(verification, allowed("ann"));
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
}

#[test]
fn requests_without_a_token_have_a_wide_limit_that_documents_share() {
    let mut scene = scene();
    let document = || Request::new(http::Method::GET, "/.well-known/oauth-protected-resource");
    use_up(&mut scene, "127.0.0.1");
    for n in 0..120 {
        let (request, expected) = if n % 2 == 0 {
            (knock(), 401)
        } else {
            (document(), 200)
        };
        let asked = scene.send(request);
        assert_eq!(scene.response(asked).status(), expected);
    }
    for request in [knock(), document()] {
        let asked = scene.send(request);
        assert_turned_away(&mut scene, asked, Refusal::TooManyProbes);
        assert_eq!(retry_after(&scene, asked), Duration::from_secs(1));
    }
    // Nobody else is the worse for it, nor is health.
    for request in [
        knock().bearer("static"),
        knock().from("10.0.0.1"),
        Request::new(http::Method::GET, "/health"),
    ] {
        let asked = scene.send(request);
        assert_ne!(scene.response(asked).status(), 429);
    }
    scene.wait(Duration::from_millis(499));
    assert_eq!(refused(&mut scene, knock()).1, Refusal::TooManyProbes);
    scene.wait(Duration::from_millis(1));
    assert_eq!(refused(&mut scene, knock()).1, Refusal::CredentialsMissing);
    assert_eq!(refused(&mut scene, knock()).1, Refusal::TooManyProbes);
}

#[test]
fn time_gives_back_exactly_what_it_should() {
    let mut scene = scene();
    assert_eq!(use_up(&mut scene, "127.0.0.1"), 10);
    for _ in 0..3 {
        scene.wait(Duration::from_secs(6) - Duration::from_nanos(1));
        assert_eq!(use_up(&mut scene, "127.0.0.1"), 0);
        scene.wait(Duration::from_nanos(1));
        assert_eq!(use_up(&mut scene, "127.0.0.1"), 1);
    }
    scene.wait_secs(24);
    assert_eq!(use_up(&mut scene, "127.0.0.1"), 4);
    // However long it takes: no more than all.
    scene.wait_secs(3600);
    assert_eq!(use_up(&mut scene, "127.0.0.1"), 10);
    // What the wall clock says is no time.
    scene.world.step_clock(3_600_000);
    assert_eq!(use_up(&mut scene, "127.0.0.1"), 0);
}

/// Whoever comes back when they were told to is served, whatever the rate and the moment.
#[test]
fn the_time_that_is_told_is_enough_and_not_too_much() {
    for (count, off) in [
        (10, 0),
        (7, 0),
        (10, 999_999_501),
        (13, 77),
        (3, 1),
        (10, 500_000),
    ] {
        let mut policy = gateway(vec![Verifier::Custom]);
        policy.limits.credential_rate = Rate::per_minute(count);
        let mut scene = begin(policy);
        assert_eq!(use_up(&mut scene, "127.0.0.1"), count as usize);
        scene.wait(Duration::from_nanos(off));
        let (asked, refusal) = refused(&mut scene, knock().bearer("wrong"));
        assert_eq!(refusal, Refusal::TooManyCredentials);
        let told = retry_after(&scene, asked);
        scene.wait(told - Duration::from_secs(1));
        assert_eq!(
            use_up(&mut scene, "127.0.0.1"),
            0,
            "it could have been less"
        );
        scene.wait_secs(1);
        assert_eq!(use_up(&mut scene, "127.0.0.1"), 1);
    }
}

#[test]
fn who_shares_a_limit() {
    for (one, other, share) in [
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("2001:db8::1", "2001:db8::ffff:1", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
        ("::ffff:10.0.0.1", "10.0.0.1", true),
        ("::1", "127.0.0.1", false),
    ] {
        let mut scene = scene();
        assert_eq!(use_up(&mut scene, one), 10);
        let left = use_up(&mut scene, other);
        assert_eq!(left, if share { 0 } else { 10 }, "{one} {other}");
        while refused(&mut scene, knock().from(one)).1 != Refusal::TooManyProbes {}
        let (_, refusal) = refused(&mut scene, knock().from(other));
        assert_eq!(refusal == Refusal::TooManyProbes, share, "{one} {other}");
    }
}

#[test]
fn what_proxies_forward_counts_only_if_they_are_trusted() {
    for (trusted, forwarded, expected) in [
        (false, "198.51.100.{n}", "10.0.0.1"),
        (true, "198.51.100.1", "198.51.100.1"),
        (true, "{n}.1.1.1, 198.51.100.1", "198.51.100.1"),
        (true, "198.51.100.1, 10.0.0.{n}", "198.51.100.1"),
        (true, "198.51.100.1, nonsense{n}", "10.0.0.1"),
        (true, "2001:db8::{n}", "2001:db8::11"),
    ] {
        let mut policy = gateway(vec![Verifier::Custom]);
        if trusted {
            policy.auth.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        }
        let mut scene = begin(policy);
        for n in 1..=11 {
            let forwarded = forwarded.replace("{n}", &n.to_string());
            let request = knock().from("10.0.0.1").bearer(&format!("wrong{n}"));
            let (asked, refusal) =
                refused(&mut scene, request.field("x-forwarded-for", &forwarded));
            assert_eq!(refusal == Refusal::TooManyCredentials, n == 11);
            if n == 11 {
                let records = scene.world.audit();
                let record = records
                    .iter()
                    .rfind(|it| it.exchange == Some(asked))
                    .unwrap();
                let caller = record.caller.as_ref().unwrap();
                assert_eq!(caller.address.to_string(), expected);
            }
        }
    }
}

#[test]
fn herds_pay_when_they_turn_out_bad() {
    let mut scene = scene();
    let herd: Vec<_> = (0..6)
        .map(|_| scene.send(knock().bearer("wrong")))
        .collect();
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Denied);
    for asked in herd {
        assert_eq!(outcome(&scene, asked), Refusal::InvalidToken);
    }
    assert_eq!(use_up(&mut scene, "127.0.0.1"), 4);

    let herd: Vec<_> = (0..6)
        .map(|_| scene.send(knock().bearer("right").from("10.0.0.1")))
        .collect();
    let (verification, _) = scene.verification();
    scene.verifies(verification, allowed("ann"));
    for asked in herd {
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
    assert_eq!(use_up(&mut scene, "10.0.0.1"), 9);
}

#[test]
fn whoever_leaves_a_herd_does_not_pay() {
    let mut scene = scene();
    let herd: Vec<_> = (0..6)
        .map(|_| scene.send(knock().bearer("wrong")))
        .collect();
    for &asked in &herd[1..] {
        scene.leave(asked);
    }
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Denied);
    assert_eq!(outcome(&scene, herd[0]), Refusal::InvalidToken);
    assert_eq!(use_up(&mut scene, "127.0.0.1"), 9);
}

#[test]
fn requests_that_are_let_in_are_counted_where_that_is_wanted() {
    for by_principal in [true, false] {
        let mut policy = gateway(vec![tokens(&[("ann", "a"), ("ann", "a2"), ("bob", "b")])]);
        let rate = Some(Rate::per_minute(5));
        if by_principal {
            policy.limits.principal_rate = rate;
        } else {
            policy.limits.address_rate = rate;
        }
        let mut scene = begin(policy);
        for n in 0..5 {
            let own = if n % 2 == 0 { "a" } else { "a2" };
            let asked = scene.send(knock().bearer(own));
            assert_eq!(outcome(&scene, asked), LET_IN);
            // Whoever is not let in is not counted here.
            scene.send(knock());
        }
        let asked = scene.send(knock().bearer("a"));
        scene.assert_refused(asked, Refusal::TooManyRequests);
        assert_eq!(retry_after(&scene, asked), Duration::from_secs(12));
        for (request, shares) in [
            (knock().bearer("a2"), true),
            (knock().bearer("b"), !by_principal),
            (knock().bearer("a").from("10.0.0.9"), by_principal),
        ] {
            let asked = scene.send(request);
            assert_eq!(outcome(&scene, asked) == Refusal::TooManyRequests, shares);
        }
        scene.wait_secs(12);
        let asked = scene.send(knock().bearer("a"));
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
}

#[test]
fn crowding_the_table_resets_nobody() {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.limits.rate_entries = 4;
    let mut scene = begin(policy);
    use_up(&mut scene, "10.0.0.1");
    for n in 0..20 {
        refused(
            &mut scene,
            knock().from(&format!("10.0.1.{n}")).bearer("wrong"),
        );
    }
    assert_eq!(use_up(&mut scene, "10.0.0.1"), 0);
    scene.wait_secs(120);
    assert_eq!(use_up(&mut scene, "10.0.1.19"), 10);
}

/// Many people behind one address come with tokens that are all new, and all good.
#[test]
fn good_signed_tokens_cost_nothing_however_many_come_at_once() {
    let mut scene = begin(gateway(vec![Verifier::Jwt(signed())]));
    let asked: Vec<_> = (0..60)
        .map(|n| {
            let claims = with(claims(&scene), "jti", serde_json::json!(n));
            let token = jwt(&header(), &claims);
            scene.send(knock().bearer(&token))
        })
        .collect();
    for event in std::mem::take(&mut scene.outside) {
        let mcp_proto_sim::Event::CheckSignature(check) = event else {
            panic!("{event:?}");
        };
        scene.checks(&check, true);
    }
    for asked in asked {
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
}
