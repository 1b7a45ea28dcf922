//! The options about callers: what each rule lets through, and the line with which it refuses.

use gateway_kit::cli::{Error, Invocation, parse};
use gateway_kit::{AuditSink, Settings, StartupCheck};
use mcp_proto::auth::{
    Algorithm, Audience, Clients, Discovery, HttpVerifier, KeySource, ScopeRule, Verifier,
};
use proptest::prelude::*;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

type Env<'a> = &'a [(&'a str, &'a str)];

const TOKEN: &str = "0123456789abcdef";
const SERVICE: (&str, &str) = ("DEMO_API_TOKEN", TOKEN);
const HTTP: &str = "--auth http --http-url https://api.example.org/whoami";
const ANY: &str = "--allow-any-client";
const INTROSPECTION: &str = "--auth introspection --introspection-url https://as.example.org/i \
                             --introspection-client-id gw --introspection-client-secret-env SECRET";
const SECRET: (&str, &str) = ("SECRET", "s p a c e");
const JWT: &str = "--auth jwt --issuer https://as.example.org";

fn run(args: &str, env: Env<'_>) -> Result<Invocation, Error> {
    let args = args.split_whitespace().map(OsString::from);
    let env = env.iter().map(|(name, value)| (name.into(), value.into()));
    parse(args, env, "mcp-gateway")
}

/// What `args` mean for the demo.
fn serve(args: &str, env: Env<'_>) -> Settings {
    match run(&format!("{args} --demo"), env) {
        Ok(Invocation::Serve(settings)) => *settings,
        other => panic!("{args}: {other:?}"),
    }
}

/// The one line with which these arguments are refused.
fn refusal(args: &str, env: Env<'_>) -> String {
    let line = run(&format!("{args} --demo"), env).expect_err(args);
    let line = line.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

fn check_config(args: &str, env: Env<'_>) -> String {
    match run(&format!("--check-config {args} --demo"), env) {
        Ok(Invocation::CheckConfig(document)) => document,
        other => panic!("{args}: {other:?}"),
    }
}

fn refuses(cases: &[(&str, Env<'_>, &str, &str)]) {
    for (args, env, key, part) in cases {
        let line = refusal(args, env);
        let begins = line.starts_with(&format!("{key}: "));
        assert!(begins && line.contains(part), "{args} {env:?}: {line}");
    }
}

/// A directory with a file of that text, and its path.
fn file(text: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (directory, path)
}

fn kinds(settings: &Settings) -> Vec<&'static str> {
    let verifiers = settings.policy.auth.verifiers.iter();
    verifiers.map(|it| it.kind().as_str()).collect()
}

fn static_tokens(settings: &Settings) -> Vec<(&str, &str)> {
    let verifiers = settings.policy.auth.verifiers.iter();
    verifiers
        .filter_map(|it| match it {
            Verifier::Static(tokens) => Some(tokens),
            _ => None,
        })
        .flatten()
        .map(|it| (it.name.as_str(), it.token.expose()))
        .collect()
}

fn http(settings: &Settings) -> &HttpVerifier {
    let mut verifiers = settings.policy.auth.verifiers.iter();
    let found = verifiers.find_map(|it| match it {
        Verifier::Http(http) => Some(http),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn nobody_is_asked_by_default() {
    let settings = serve("", &[("DEMO_API_TOKEN", "")]);
    assert!(kinds(&settings).is_empty() && settings.warnings.is_empty());
    assert_eq!(settings.audit, AuditSink::Stdout);
    assert_eq!(settings.startup_check, StartupCheck::Stop);
    assert!(settings.token_file.is_none() && !settings.policy.auth.refuse_unaudited);
    assert_eq!(settings.policy.auth.discovery, Discovery::Auto);
}

#[test]
fn the_services_variable_is_a_static_token_and_may_be_rotated() {
    let previous = ("DEMO_API_TOKEN_PREVIOUS", "fedcba9876543210");
    let long = ("MY_DEMO_MCP_API_TOKEN", TOKEN);
    let short = ("MY_DEMO_API_TOKEN", TOKEN);
    let old = ("demo", "fedcba9876543210");
    for (args, env, expected) in [
        ("", &[SERVICE][..], &[("demo", TOKEN)][..]),
        ("--auth static", &[SERVICE], &[("demo", TOKEN)]),
        ("", &[SERVICE, previous], &[("demo", TOKEN), old]),
        (
            "--service-name my-demo-mcp",
            &[long],
            &[("my-demo-mcp", TOKEN)],
        ),
        (
            "--service-name my-demo-mcp",
            &[short, long],
            &[("my-demo-mcp", TOKEN)],
        ),
        ("--auth none", &[SERVICE], &[]),
    ] {
        assert_eq!(static_tokens(&serve(args, env)), expected, "{args} {env:?}");
    }
    let other = ("MY_DEMO_MCP_API_TOKEN", "another-token-here");
    #[rustfmt::skip]
    refuses(&[
        ("--service-name my-demo-mcp", &[short, other], "MY_DEMO_API_TOKEN", "unset one"),
        ("", &[previous], "DEMO_API_TOKEN_PREVIOUS", "DEMO_API_TOKEN is not"),
        ("", &[("DEMO_API_TOKEN", "a b")], "DEMO_API_TOKEN", "other than letters"),
        ("--auth static", &[], "auth", "set DEMO_API_TOKEN"),
    ]);
}

#[test]
fn verifiers_are_asked_in_the_order_given_and_none_stands_alone() {
    let chain = format!(
        "--auth jwt --auth static {HTTP} {ANY} --http-token-prefix svc_ --issuer https://a"
    );
    assert_eq!(kinds(&serve(&chain, &[SERVICE])), ["jwt", "static", "http"]);
    assert!(kinds(&serve("--auth none", &[])).is_empty());
    let env = [("MCP_GATEWAY_AUTH", "static, jwt"), SERVICE];
    assert_eq!(kinds(&serve("--issuer https://a", &env)), ["static", "jwt"]);
    #[rustfmt::skip]
    refuses(&[
        ("--auth none --auth static", &[SERVICE], "auth", "leave none out"),
        ("--auth static,jwt", &[], "auth", "give --auth static --auth jwt"),
        ("--auth static,basic", &[], "auth", "is none of none, static"),
        ("--auth basic", &[], "auth", "is none of none, static"),
        ("", &[("MCP_GATEWAY_AUTH", ",")], "auth", "is an empty list"),
    ]);
}

#[test]
fn tokens_of_variables_have_the_names_that_are_given() {
    let env = [
        ("A", "first-token-of-alice"),
        ("B", "second-token-of-alice"),
        ("C", TOKEN),
    ];
    let args = "--auth static --static-token-env alice=A --static-token-env alice=B \
                --static-token-env C";
    let settings = serve(args, &env);
    let expected = [
        ("alice", "first-token-of-alice"),
        ("alice", "second-token-of-alice"),
        ("C", TOKEN),
    ];
    assert_eq!(static_tokens(&settings), expected);
    let third = format!("{args} --static-token-env alice=C");
    let key = "static-token-env";
    #[rustfmt::skip]
    refuses(&[
        (&third, &env, key, "same token as another name"),
        (&third.replace("--static-token-env C", ""), &env, key, "third token"),
        ("--auth static --static-token-env X", &[], key, "X, of entry 1, is not set"),
        ("--auth static --static-token-env X", &[("X", "")], key, "is not set"),
        ("--auth static --static-token-env a=", &[], key, "entry, number 1,"),
        ("--auth static --static-token-env a/b=C", &env, key, "entry, number 1,"),
        ("--auth static --static-token-env a=C", &[("C", TOKEN), SERVICE], key, "same token"),
        ("--auth static --static-token-env C", &[("C", "é")], "C", "other than letters"),
    ]);
}

#[test]
fn callers_are_told_of_a_variable_that_there_is() {
    let env = [("ALICE", "first-token-of-alice"), SERVICE];
    let alice = "--auth static --static-token-env alice=ALICE";
    for (args, env, variable) in [
        (alice, &env[..1], "ALICE"),
        (alice, &env, "DEMO_API_TOKEN"),
        ("", &env, "DEMO_API_TOKEN"),
    ] {
        let mut settings = serve(args, env);
        settings.listening(&["127.0.0.1:8080".parse().unwrap()]);
        let page = settings.policy.page;
        assert!(page.contains(&format!("${variable}")), "{page}");
        let print = format!("{args} --demo print-config --client cursor");
        let Ok(Invocation::PrintConfig(text)) = run(&print, env) else {
            panic!("{print}");
        };
        assert!(
            text.contains(&format!("Bearer ${{env:{variable}}}")),
            "{text}"
        );
    }
}

#[test]
fn tokens_of_a_file_stand_beside_the_variables() {
    let (_directory, path) = file("# people\nalice: first-token-of-alice\nbare-token-of-all\n");
    let args = format!("--auth static --static-token-file {path}");
    let settings = serve(&args, &[SERVICE]);
    let expected = [
        ("demo", TOKEN),
        ("alice", "first-token-of-alice"),
        ("token-file", "bare-token-of-all"),
    ];
    assert_eq!(static_tokens(&settings), expected);
    assert_eq!(settings.token_file.unwrap().tokens().len(), 3);
    serve(&args, &[]);
    let (_bad, bad) = file("demo: other-1\ndemo: other-2");
    let (_shared, shared) = file(&format!("alice: {TOKEN}"));
    let key = "static-token-file";
    #[rustfmt::skip]
    refuses(&[
        (&format!("--auth static --static-token-file {bad}"), &[SERVICE], key, "line 2 is a third"),
        (&format!("--auth static --static-token-file {shared}"), &[SERVICE], key, "line 1 has the"),
        ("--auth static --static-token-file /nowhere", &[SERVICE], key, "cannot be read"),
        ("--auth static --static-token-file /", &[SERVICE], key, "is not a plain file"),
        ("--auth static --static-token-file=", &[SERVICE], key, "is empty"),
    ]);
}

#[test]
fn http_needs_a_url_and_to_know_whom_to_let_in() {
    let clients = "--allow-clients 7 --allow-clients bob --http-client-pointer /user/id";
    let settings = serve(&format!("{HTTP} {clients} --http-method POST"), &[SERVICE]);
    let verifier = http(&settings);
    let expected = ["7".to_owned(), "bob".to_owned()].into();
    assert_eq!(verifier.clients, Clients::Only(expected));
    assert_eq!(
        (verifier.method.as_str(), verifier.url.as_str()),
        ("POST", "https://api.example.org/whoami")
    );
    assert_eq!(verifier.own_token.as_ref().unwrap().expose(), TOKEN);
    assert!(settings.warnings.is_empty());
    let open = serve(&format!("{HTTP} {ANY}"), &[]);
    assert_eq!(
        (&http(&open).clients, open.warnings.len()),
        (&Clients::Any, 1)
    );
    let both = format!("--auth static {HTTP} {ANY} --http-token-prefix svc_");
    assert!(http(&serve(&both, &[SERVICE])).own_token.is_none());
    #[rustfmt::skip]
    refuses(&[
        ("--auth http", &[], "http-url", "is missing: auth names http"),
        (HTTP, &[], "allow-clients", "allow-any-client"),
        (&format!("{HTTP} --allow-any-client=off"), &[], "allow-clients", "is missing"),
        (&format!("{HTTP} --allow-clients 7"), &[], "http-client-pointer", "such as /user/id"),
        (&format!("{HTTP} {ANY} {clients}"), &[], "allow-any-client", "leave one of them out"),
        (&format!("{HTTP} {ANY} --http-method PUT"), &[], "http-method", "neither GET nor POST"),
        (&format!("{HTTP} {ANY} --http-client-pointer id"), &[], "http-client-pointer", "JSON pointer"),
        (&format!("{HTTP} {ANY} --http-expiry-pointer /~"), &[], "http-expiry-pointer", "JSON pointer"),
        (&format!("{HTTP} {ANY} --http-issuer http://a"), &[], "http-issuer", "is not https"),
        (&format!("{HTTP} {ANY} --http-token-prefix="), &[], "http-token-prefix", "is not what"),
        (&format!("{HTTP} --allow-clients="), &[], "allow-clients", "is empty"),
        ("--auth http --http-url http://api.example.org", &[], "http-url", "allow-private-addresses"),
    ]);
    serve(
        &format!("--auth http --http-url http://10.0.0.7/x {ANY} --allow-private-addresses"),
        &[],
    );
}

#[test]
fn opaque_tokens_are_told_apart_by_their_beginnings() {
    let both = format!("{INTROSPECTION} {HTTP} {ANY}");
    let svc = "--http-token-prefix svc_";
    let env = &[SECRET, SERVICE][..];
    let key = "http-token-prefix";
    let other = "introspection-token-prefix";
    #[rustfmt::skip]
    refuses(&[
        (&format!("--auth static {HTTP} {ANY}"), env, key, "may see its own only"),
        (&both, env, key, "is missing"),
        (&format!("{both} {svc}"), env, other, "is missing"),
        (&format!("--auth static {INTROSPECTION}"), env, other, "is missing"),
        (&format!("{both} {svc} --{other} svc_a"), env, other, "give longer ones"),
        (&format!("{both} {svc} --{other} sv"), env, other, "give longer ones"),
        (&format!("{both} {svc} --{other} svc_"), env, other, "give longer ones"),
        (&format!("--auth static {HTTP} {ANY} --{key} 0123"), env, "DEMO_API_TOKEN", "begins with"),
    ]);
    serve(&format!("{both} {svc} --{other} as_"), env);
    serve(&format!("{HTTP} {ANY} --auth jwt --issuer https://a"), env);
    let line = refusal(&format!("--auth static {HTTP} {ANY} --{key} 0123"), env);
    assert_eq!(line.matches("DEMO_API_TOKEN").count(), 1, "{line}");
    let (_directory, path) = file("alice: svc_of-alice-herself");
    let args = format!("--auth static {HTTP} {ANY} {svc} --static-token-file {path}");
    refuses(&[(
        &args,
        &[],
        "static-token-file",
        "line 1 has a token that begins",
    )]);
}

#[test]
fn jwt_needs_an_issuer() {
    let settings = serve(JWT, &[]);
    let [Verifier::Jwt(jwt)] = &settings.policy.auth.verifiers[..] else {
        panic!("{settings:?}");
    };
    assert_eq!(jwt.keys, KeySource::Metadata);
    assert_eq!(jwt.algorithms, Algorithm::ALL);
    assert_eq!(
        (&jwt.types[..], &jwt.audience),
        (&["at+jwt".to_owned()][..], &Audience::Resource)
    );
    let more = "--jwks-url https://k/keys --jwt-algorithms ES256 --jwt-types JWT \
                --jwt-types application/AT+JWT --audience https://x --audience api";
    let settings = serve(&format!("{JWT} {more}"), &[]);
    let [Verifier::Jwt(jwt)] = &settings.policy.auth.verifiers[..] else {
        panic!("{settings:?}");
    };
    assert_eq!(jwt.keys, KeySource::Url("https://k/keys".to_owned()));
    assert_eq!(jwt.algorithms, [Algorithm::Es256]);
    assert_eq!(jwt.types, ["jwt", "at+jwt"]);
    let audience = ["https://x".to_owned(), "api".to_owned()];
    assert_eq!(jwt.audience, Audience::OneOf(audience.into()));
    serve("--auth jwt --issuer http://localhost:9000/realm", &[]);
    serve(
        "--auth jwt --issuer http://as.local --allow-private-addresses",
        &[],
    );
    let (_no_keys, no_keys) = file("{\"keys\": []}");
    let (_private, private) = file("{\"keys\": [{\"kty\": \"EC\", \"d\": \"marker\"}]}");
    let (_text, text) = file("marker");
    #[rustfmt::skip]
    refuses(&[
        ("--auth jwt", &[], "issuer", "is missing"),
        ("--auth jwt --issuer http://as.example.org", &[], "issuer", "is not https"),
        ("--auth jwt --issuer https://u:p@h", &[], "issuer", "leave them out"),
        ("--auth jwt --issuer https://h?x", &[], "issuer", "has a query"),
        ("--auth jwt --issuer https://h#x", &[], "issuer", "has a fragment"),
        (&format!("{JWT} --audience any"), &[], "audience", "introspection only"),
        (&format!("{JWT} --audience any --audience x"), &[], "audience", "leave any out"),
        (&format!("{JWT} --audience="), &[], "audience", "is empty"),
        (&format!("{JWT} --jwt-algorithms HS256"), &[], "jwt-algorithms", "RS256"),
        (&format!("{JWT} --jwt-algorithms none"), &[], "jwt-algorithms", "RS256"),
        (&format!("{JWT} --jwt-types="), &[], "jwt-types", "at+jwt"),
        (JWT, &[("MCP_GATEWAY_JWT_TYPES", ",")], "jwt-types", "empty list"),
        (&format!("{JWT} --jwks-url http://k"), &[], "jwks-url", "is not https"),
        (&format!("{JWT} --jwks-url https://k --jwks-file {text}"), &[], "jwks-file", "together"),
        (&format!("{JWT} --jwks-file {no_keys}"), &[], "jwks-file", "is not a key set"),
        (&format!("{JWT} --jwks-file {private}"), &[], "jwks-file", "private or shared"),
        (&format!("{JWT} --jwks-file {text}"), &[], "jwks-file", "is not JSON"),
        (&format!("{JWT} --jwks-file /nowhere"), &[], "jwks-file", "cannot be read"),
    ]);
}

#[test]
fn metadata_that_is_given_is_the_issuers_and_has_what_is_asked_of_it() {
    let option = "--authorization-server-metadata";
    let metadata = |more: &str| file(&format!("{{\"issuer\": \"https://as.example.org\"{more}}}"));
    let (_whole, whole) = metadata(", \"jwks_uri\": \"https://k\"");
    let settings = serve(&format!("{JWT} {option} {whole}"), &[]);
    let server = settings.policy.auth.authorization_server.unwrap();
    assert_eq!(server.issuer, "https://as.example.org");
    assert_eq!(server.metadata, fs::read_to_string(&whole).ok());
    let (_bare, bare) = metadata("");
    serve(&format!("{JWT} {option} {bare} --jwks-url https://k"), &[]);
    let (_array, array) = file("[]");
    let introspection = INTROSPECTION.replace("--introspection-url https://as.example.org/i", "");
    let key = "authorization-server-metadata";
    #[rustfmt::skip]
    refuses(&[
        (&format!("{JWT} {option} {bare}"), &[], key, "has no jwks_uri"),
        (&format!("{introspection} --issuer https://as.example.org {option} {whole}"), &[SECRET], key, "has no introspection_endpoint"),
        (&format!("{JWT}/ {option} {whole}"), &[], key, "its issuer is another"),
        (&format!("{JWT} {option} {array}"), &[], key, "is not a JSON object"),
        (&format!("{JWT} {option}="), &[], key, "is empty"),
        (&format!("{INTROSPECTION} {option} {whole}"), &[SECRET], "issuer", "is missing"),
    ]);
}

#[test]
fn introspection_needs_an_endpoint_an_id_and_a_secret() {
    let (_directory, path) = file("s p a c e\r\n");
    let by_file = INTROSPECTION.replace("secret-env SECRET", &format!("secret-file {path}"));
    for args in [
        INTROSPECTION.to_owned(),
        by_file.clone(),
        format!("{INTROSPECTION} --audience any"),
        INTROSPECTION.replace(
            "--introspection-url https://as.example.org/i",
            "--issuer https://a",
        ),
    ] {
        let settings = serve(&args, &[SECRET]);
        let [Verifier::Introspection(it)] = &settings.policy.auth.verifiers[..] else {
            panic!("{settings:?}");
        };
        assert_eq!(it.client_secret.expose(), "s p a c e");
        assert_eq!(it.client_id, "gw");
        assert_eq!(it.audience == Audience::Any, args.ends_with("any"));
    }
    let (_empty, empty) = file("\n");
    let without = |part: &str| INTROSPECTION.replace(part, "");
    #[rustfmt::skip]
    refuses(&[
        (&without("--introspection-url https://as.example.org/i"), &[SECRET], "introspection-url", "or issuer"),
        (&without("--introspection-client-id gw"), &[SECRET], "introspection-client-id", "is missing"),
        (&without("--introspection-client-secret-env SECRET"), &[SECRET], "introspection-client-secret-env", "or introspection-client-secret-file"),
        (INTROSPECTION, &[], "introspection-client-secret-env", "SECRET is not set"),
        (INTROSPECTION, &[("SECRET", "a\nb")], "introspection-client-secret-env", "one line"),
        (&format!("{INTROSPECTION} --introspection-client-secret-file {path}"), &[SECRET], "introspection-client-secret-file", "together"),
        (&by_file.replace(&path, &empty), &[], "introspection-client-secret-file", "holds no secret"),
        (&by_file.replace(&path, "/nowhere"), &[], "introspection-client-secret-file", "cannot be read"),
        (&INTROSPECTION.replace("https:", "http:"), &[SECRET], "introspection-url", "is not https"),
    ]);
}

#[test]
fn an_option_of_a_verifier_that_is_not_asked_is_refused() {
    for (option, names) in [
        ("static-token-env X", "static"),
        ("static-token-file X", "static"),
        ("http-url https://a", "http"),
        ("http-method GET", "http"),
        ("http-client-pointer /a", "http"),
        ("http-expiry-pointer /a", "http"),
        ("allow-clients x", "http"),
        ("allow-any-client", "http"),
        ("http-issuer https://a", "http"),
        ("http-token-prefix x", "http"),
        ("issuer https://a", "http or introspection or jwt"),
        (
            "authorization-server-metadata x",
            "http or introspection or jwt",
        ),
        ("allow-private-addresses", "http or introspection or jwt"),
        ("audience x", "introspection or jwt"),
        ("jwks-url https://a", "jwt"),
        ("jwks-file x", "jwt"),
        ("jwt-algorithms RS256", "jwt"),
        ("jwt-types JWT", "jwt"),
        ("introspection-url https://a", "introspection"),
        ("introspection-client-id x", "introspection"),
        ("introspection-client-secret-env X", "introspection"),
        ("introspection-client-secret-file x", "introspection"),
        ("introspection-token-prefix x", "introspection"),
        (
            "required-scopes x",
            "static or http or introspection or jwt",
        ),
        ("scope a=b", "static or http or introspection or jwt"),
    ] {
        let line = refusal(&format!("--{option}"), &[]);
        let key = option.split(' ').next().unwrap();
        let begins = format!("{key}: is given, but auth does not name {names}; ");
        assert!(line.starts_with(&begins), "{option}: {line}");
    }
}

#[test]
fn every_option_names_itself_when_its_value_is_wrong() {
    let Ok(Invocation::Help(help)) = run("--help", &[]) else {
        panic!("no help");
    };
    let (_, callers) = help.split_once("\nAuthentication:").unwrap();
    let (callers, _) = callers.split_once("\nLimits:").unwrap();
    let lines = callers.lines().map(str::trim);
    let keys: Vec<_> = lines
        .filter_map(|line| line.strip_prefix("--")?.split([' ', '[']).next())
        .collect();
    assert_eq!(keys.len(), 31);
    let (_directory, secret) = file("secret");
    let env = [
        SERVICE,
        ("MCP_GATEWAY_HTTP_URL", "https://a"),
        ("MCP_GATEWAY_HTTP_TOKEN_PREFIX", "svc_"),
        ("MCP_GATEWAY_ALLOW_CLIENTS", "x"),
        ("MCP_GATEWAY_HTTP_CLIENT_POINTER", "/x"),
        ("MCP_GATEWAY_ISSUER", "https://as.example.org"),
        ("MCP_GATEWAY_INTROSPECTION_CLIENT_ID", "x"),
        ("MCP_GATEWAY_INTROSPECTION_CLIENT_SECRET_FILE", &secret),
        ("MCP_GATEWAY_INTROSPECTION_TOKEN_PREFIX", "as_"),
        ("MCP_GATEWAY_AUTH", "static,http,introspection,jwt"),
    ];
    serve("", &env);
    for key in keys {
        // No URL, file, word, pointer, pattern or name; and no variable that is set.
        let wrong = format!("--{key}=no\tsense\nat all");
        let args = [wrong, "--demo".to_owned()].map(OsString::from);
        let env = env.map(|(name, value)| (name.into(), value.into()));
        let line = parse(args, env, "mcp-gateway").unwrap_err().to_string();
        assert!(line.starts_with(&format!("{key}: ")), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn scopes_are_asked_of_calls() {
    let rule = |method: &str, name: Option<&str>, scopes: &[&str]| ScopeRule {
        method: method.to_owned(),
        name: name.map(str::to_owned),
        scopes: scopes.iter().map(|it| (*it).to_owned()).collect(),
    };
    let text = "auth = \"static\"\nrequired-scopes = [\"mcp\", \"x=y\"]\n[scope]\n\
                \"tools/call:delete_*\" = \"files:write admin\"\n\"resources/*\" = \"read\"";
    let (_directory, path) = file(text);
    let auth = serve(&format!("--config {path}"), &[SERVICE]).policy.auth;
    assert_eq!(auth.required_scopes, ["mcp", "x=y"]);
    let expected = [
        rule("resources/*", None, &["read"]),
        rule("tools/call", Some("delete_*"), &["files:write", "admin"]),
    ];
    assert_eq!(auth.scope_rules, expected);
    let env = [SERVICE, ("MCP_GATEWAY_SCOPE", "tools/call:a=b c,*=d")];
    let auth = serve("", &env).policy.auth;
    assert_eq!(
        auth.scope_rules[0],
        rule("tools/call", Some("a"), &["b", "c"])
    );
    assert_eq!(auth.scope_rules[1], rule("*", None, &["d"]));
    #[rustfmt::skip]
    refuses(&[
        ("--required-scopes=", &[SERVICE], "required-scopes", "is not a scope"),
        ("--required-scopes a\\b", &[SERVICE], "required-scopes", "is not a scope"),
        ("--scope tools/call", &[SERVICE], "scope", "METHOD:NAME=SCOPE"),
        ("--scope to*ls=a", &[SERVICE], "scope", "not at the end"),
        ("--scope tools/call:*x=a", &[SERVICE], "scope", "not at the end"),
        ("--scope a=\"", &[SERVICE], "scope", "has a scope that"),
    ]);
}

#[test]
fn whoever_is_not_asked_stays_on_this_machine() {
    for args in [
        "--host 0.0.0.0",
        "--public-url https://gw.example.org",
        "--trusted-proxies 10.0.0.0/8",
    ] {
        let key = args.trim_start_matches("--").split(' ').next().unwrap();
        for none in ["", "--auth none"] {
            let line = refusal(&format!("{args} {none}"), &[]);
            let begins = line.starts_with(&format!("{key}: "));
            assert!(begins && line.contains("give auth"), "{line}");
            assert!(line.contains("--allow-unauthenticated"), "{line}");
        }
        serve(&format!("{args} --allow-unauthenticated"), &[]);
        serve(args, &[SERVICE]);
        serve(&format!("{args} {JWT}"), &[]);
    }
    let open = "--allow-unauthenticated";
    #[rustfmt::skip]
    refuses(&[
        (open, &[SERVICE], "allow-unauthenticated", "together with DEMO_API_TOKEN"),
        (&format!("{JWT} {open}"), &[], "allow-unauthenticated", "together with auth"),
        ("--trusted-proxies proxy", &[], "trusted-proxies", "10.0.0.0/8"),
    ]);
    serve("--allow-unauthenticated=off", &[SERVICE]);
}

#[test]
fn the_rest_is_words() {
    let settings = serve(
        "--discovery always --startup-check warn --audit-failure refuse",
        &[],
    );
    assert_eq!(settings.policy.auth.discovery, Discovery::Always);
    assert_eq!(settings.startup_check, StartupCheck::Warn);
    assert!(settings.policy.auth.refuse_unaudited);
    assert_eq!(serve("--audit off", &[]).audit, AuditSink::Off);
    let file = serve("--audit ./audit.log", &[]).audit;
    assert_eq!(file, AuditSink::File("./audit.log".into()));
    #[rustfmt::skip]
    refuses(&[
        ("--discovery on", &[], "discovery", "auto, always and off"),
        ("--startup-check no", &[], "startup-check", "neither stop nor warn"),
        ("--audit audit.log", &[], "audit", "./audit.log"),
        ("--audit /nowhere/a", &[], "audit", "does not exist"),
        ("--audit off --audit-failure refuse", &[], "audit-failure", "but audit is off"),
        ("--audit-failure stop", &[], "audit-failure", "neither warn nor refuse"),
        ("--credential-rate 0/m", &[], "credential-rate", "10/m"),
        ("--principal-rate never", &[], "principal-rate", "or off"),
    ]);
}

#[test]
fn what_may_not_be_meant_is_a_warning() {
    for (args, env, part) in [
        (
            "",
            &[("DEMO_API_TOKEN", "short")][..],
            "DEMO_API_TOKEN holds a token of fewer",
        ),
        (JWT, &[SERVICE], "auth does not name static"),
        ("--auth none", &[SERVICE], "auth does not name static"),
        (
            "--required-scopes a",
            &[SERVICE],
            "required-scopes cannot be met by tokens of static, which",
        ),
        (
            "--scope tools/call=a",
            &[SERVICE],
            "scope cannot be met by tokens of static, which",
        ),
        (
            &format!("{JWT} --scope tool/call=a --scope tools/*=b"),
            &[],
            "MCP has no method tool/call: the rule protects nothing",
        ),
        (
            &format!("{JWT} --scope resources/read:file:///a=b"),
            &[],
            "guard resources/read as a whole",
        ),
        ("--host ::", &[SERVICE], "tokens travel unencrypted unless"),
        (
            &format!("{JWT} --host 127.0.0.1 --host 10.0.0.7"),
            &[],
            "host: 10.0.0.7 can be reached",
        ),
        (
            INTROSPECTION,
            &[SECRET],
            "there is no issuer: tokens that are JWTs are shown to nobody",
        ),
        (
            &format!("--auth http --http-url https://h/x?key=s {ANY}"),
            &[],
            "any user of https://h/x comes in",
        ),
        (
            "--trusted-proxies 0.0.0.0/0",
            &[SERVICE],
            "0.0.0.0/0: anyone's",
        ),
    ] {
        let warnings = serve(args, env).warnings;
        assert!(
            warnings.len() == 1 && warnings[0].contains(part),
            "{warnings:?}"
        );
        let document = check_config(args, env);
        assert!(document.contains(&format!("# warning: {}\n", warnings[0])));
        let told = document.contains("# DEMO_API_TOKEN is set, and masked\n");
        assert_eq!(told, env.iter().any(|(name, _)| *name == "DEMO_API_TOKEN"));
    }
    for args in [
        format!("{JWT} --scope resources/read:x=a --scope resources/*=b"),
        format!("{JWT} --scope resources/read:x=a --scope resources/read:*=b"),
        format!("{JWT} --host :: --public-url https://gw.example.org/mcp"),
        format!("{INTROSPECTION} --issuer https://as.example.org"),
    ] {
        let warnings = serve(&args, &[SECRET]).warnings;
        assert!(warnings.is_empty(), "{args}: {warnings:?}");
    }
    let (_directory, path) = file("a: short\nb: also-short\nc: long-enough-for-anyone");
    let args = format!("--auth static --static-token-file {path}");
    let warnings = serve(&args, &[]).warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("(2 of them)"),
        "{warnings:?}"
    );
}

/// Configurations that together have every option.
fn whole() -> ([TempDir; 3], [String; 3]) {
    let (tokens, token_file) = file("alice: marker-5-of-the-file");
    let (secret, secret_file) = file("marker-6-in-a-file");
    let (keys, key_file) = file("{\"keys\": [{\"kty\": \"OKP\"}]}");
    let args = [
        format!(
            "--auth static {HTTP} --allow-clients 7 --http-client-pointer /a~1b --http-method POST \
             --http-expiry-pointer /e --http-issuer https://svc.example.org --http-token-prefix svc_ \
             --static-token-env bob=BOB --static-token-file {token_file} --required-scopes a \
             --scope tools/call:x*=a --trusted-proxies 10.0.0.0/8 --allow-private-addresses"
        ),
        format!(
            "{INTROSPECTION} --introspection-token-prefix as_ --audience any --audit /tmp/a.log \
             --audit-failure refuse --discovery off --startup-check warn"
        ),
        format!(
            "{JWT} --auth introspection --introspection-client-id gw --introspection-url https://i \
             --introspection-client-secret-file {secret_file} --jwks-file {key_file} --audience x \
             --jwt-algorithms ES256 --jwt-types jwt"
        ),
    ];
    ([tokens, secret, keys], args)
}

const MARKED: Env<'static> = &[
    ("DEMO_API_TOKEN", "marker-1-is-current"),
    ("DEMO_API_TOKEN_PREVIOUS", "marker-2-is-previous"),
    ("BOB", "marker-3-is-of-bob"),
    ("SECRET", "marker-4-is-secret"),
];

#[test]
fn check_config_reads_back() {
    let (_files, whole) = whole();
    let http = format!("{HTTP} {ANY}");
    for args in whole.iter().map(String::as_str).chain(["", &http, JWT]) {
        let document = check_config(args, MARKED);
        let (_directory, path) = file(&document);
        let again = match run(&format!("--config {path}"), MARKED) {
            Ok(Invocation::Serve(settings)) => *settings,
            other => panic!("{document}: {other:?}"),
        };
        assert_eq!(format!("{:?}", serve(args, MARKED)), format!("{again:?}"));
    }
}

#[test]
fn no_token_is_shown_wherever_it_is_given() {
    let (_files, whole) = whole();
    for args in &whole {
        let settings = serve(args, MARKED);
        let shown = format!("{settings:?} {}", check_config(args, MARKED));
        assert!(!shown.contains("marker"), "{shown}");
        let printed = run(&format!("print-config --client cursor {args}"), MARKED);
        assert!(!format!("{printed:?}").contains("marker"));
    }
    // Good tokens with something wrong beside them, tokens that are wrong, and tokens in the place
    // of a name.
    let (_bad, bad) = file("alice: marker one");
    let (_third, third) = file("a: marker-x\na: marker-y\na: marker-z");
    let (_swapped, swapped) = file("marker-of-alice:alice\nmarker-of-bob:alice");
    let (_nameless, nameless) = file("marker of alice: x");
    for (args, env) in [
        ("", &[("DEMO_API_TOKEN", "marker one")][..]),
        ("--allow-unauthenticated", MARKED),
        ("--port x", MARKED),
        ("--auth static --static-token-env marker", &[]),
        ("--auth static --static-token-env x=marker", &[]),
        ("--auth static --static-token-env marker=", &[]),
        ("--auth static --static-token-env marker.+~", &[]),
        ("--auth static --static-token-env x=marker/+", &[]),
        ("--auth static --static-token-env A", &[("A", "marker,one")]),
        ("--auth static --static-token-env a=DEMO_API_TOKEN", MARKED),
        (
            &format!("--auth static {HTTP} {ANY} --http-token-prefix mark"),
            MARKED,
        ),
        (&INTROSPECTION.replace("SECRET", "marker"), &[]),
        (INTROSPECTION, &[("SECRET", "marker\n")]),
        (&format!("--auth static --static-token-file {bad}"), &[]),
        (&format!("--auth static --static-token-file {third}"), &[]),
        (&format!("--auth static --static-token-file {swapped}"), &[]),
        (
            &format!("--auth static --static-token-file {nameless}"),
            &[],
        ),
    ] {
        let line = refusal(args, env);
        assert!(!line.contains("marker"), "{args}: {line}");
    }
}

proptest! {
    #[test]
    fn no_line_shows_what_a_variable_holds(
        before in "[ -~]{0,9}", after in "[ -~é]{0,9}", args in prop::sample::select(vec![
            "", "--auth static --static-token-env x=TOKEN", "--auth http --http-url https://a",
            "--auth introspection --introspection-url https://a --introspection-client-id x \
             --introspection-client-secret-env TOKEN --introspection-client-secret-file /x",
        ]),
    ) {
        let value = format!("{before}mArKeR{after}");
        let env = [("DEMO_API_TOKEN", value.as_str()), ("TOKEN", &value)];
        let shown = format!("{:?}", run(&format!("{args} --demo"), &env));
        prop_assert!(!shown.contains("mArKeR"), "{}", shown);
    }
}

#[test]
fn clients_are_told_of_the_header_unless_they_find_an_issuer() {
    let print = |args: &str, env: Env<'_>| {
        let args = format!("print-config --client claude-code --demo {args}");
        match run(&args, env) {
            Ok(Invocation::PrintConfig(printed)) => printed,
            other => panic!("{args}: {other:?}"),
        }
    };
    let header = "--header \"Authorization: Bearer $DEMO_API_TOKEN\"\n";
    for (args, env, told) in [
        ("", &[][..], false),
        ("", &[SERVICE], true),
        (&format!("{HTTP} {ANY}"), &[], true),
        (JWT, &[], false),
        (INTROSPECTION, &[SECRET], true),
        (
            &format!("{INTROSPECTION} --issuer https://a"),
            &[SECRET],
            false,
        ),
        (&format!("{JWT} --discovery off"), &[], true),
    ] {
        assert_eq!(print(args, env).ends_with(header), told, "{args}");
    }
    let mut settings = serve("", &[SERVICE]);
    let url = settings.listening(&["127.0.0.1:9".parse().unwrap()]);
    assert_eq!(settings.policy.auth.resource, url);
    assert!(settings.policy.page.contains("$DEMO_API_TOKEN"));
}

#[test]
fn audit_files_are_verified_in_the_order_given() {
    match run("audit verify b a", &[]) {
        Ok(Invocation::AuditVerify(files)) => assert_eq!(files, ["b", "a"].map(PathBuf::from)),
        other => panic!("{other:?}"),
    }
    for args in ["audit verify", "audit", "audit check x"] {
        let line = run(args, &[]).expect_err(args).to_string();
        assert!(!line.contains('\n'), "{line}");
    }
}
