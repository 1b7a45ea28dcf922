//! The command line, the environment and the file: what each means, alone and over each other.

use gateway_kit::cli::{Error, Invocation, parse};
use gateway_kit::{LogFormat, Settings};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

type Env<'a> = &'a [(&'a str, &'a str)];

fn run(args: &str, env: Env<'_>) -> Result<Invocation, Error> {
    let args = args.split_whitespace().map(OsString::from);
    let env = env.iter().map(|(name, value)| (name.into(), value.into()));
    parse(args, env, "mcp-gateway")
}

fn serve(args: &str, env: Env<'_>) -> Settings {
    match run(args, env) {
        Ok(Invocation::Serve(settings)) => *settings,
        other => panic!("{args}: {other:?}"),
    }
}

/// The one line with which these arguments are refused.
fn refusal(args: &str, env: Env<'_>) -> String {
    let line = run(args, env).expect_err(args).to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

fn check_config(args: &str, env: Env<'_>) -> String {
    match run(&format!("--check-config {args}"), env) {
        Ok(Invocation::CheckConfig(document)) => document,
        other => panic!("{args}: {other:?}"),
    }
}

/// A directory with `text` in its `gateway.toml`, and the option that names the file.
fn file(text: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    let option = format!("--config {}", path.display());
    (directory, option)
}

fn addresses(settings: &Settings) -> Vec<String> {
    settings.listen.iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_are_loopback_and_the_commands_name() {
    let settings = serve("-- /opt/bin/my-server.py --flag", &[("PATH", "/bin")]);
    assert_eq!(addresses(&settings), ["127.0.0.1:8080"]);
    assert_eq!(settings.policy.service_name, "my-server");
    assert_eq!(settings.policy.path, "/mcp");
    assert_eq!(settings.child.program, "/opt/bin/my-server.py");
    assert_eq!(settings.child.args, ["--flag"]);
    assert_eq!(settings.child.env, [("PATH".into(), "/bin".into())]);
    assert_eq!(settings.log.format, LogFormat::Text);
    assert!(settings.guard && settings.policy.startup_probe && settings.workers >= 1);
    assert_eq!(settings.policy.limits, mcp_proto::Limits::default());
}

#[test]
fn health_is_asked_where_the_same_configuration_serves() {
    let (_directory, config) = file("port = 4\nhost = [\"::\", \"127.0.0.1\"]");
    let url = |args: &str, env: Env<'_>| match run(args, env) {
        Ok(Invocation::Health(asked)) => asked.url,
        other => panic!("{args}: {other:?}"),
    };
    for (args, env, expected) in [
        (
            "health",
            &[] as Env<'_>,
            "http://127.0.0.1:8080/health/ready",
        ),
        (
            "health",
            &[("PORT", "5")],
            "http://127.0.0.1:5/health/ready",
        ),
        (
            "health --port 6",
            &[("PORT", "5")],
            "http://127.0.0.1:6/health/ready",
        ),
        (
            "--port 6 health",
            &[("PORT", "5")],
            "http://127.0.0.1:6/health/ready",
        ),
        (
            "health",
            &[("MCP_GATEWAY_HOST", "0.0.0.0")],
            "http://127.0.0.1:8080/health/ready",
        ),
        (
            "health --host 10.0.0.7",
            &[],
            "http://10.0.0.7:8080/health/ready",
        ),
        (
            &format!("{config} health"),
            &[],
            "http://[::1]:4/health/ready",
        ),
        ("health --url http://x/", &[("PORT", "x")], "http://x/"),
        (
            "health --tls-certificate /no/such",
            &[],
            "https://127.0.0.1:8080/health/ready",
        ),
        // What it has no use for is not read: it may be missing here, or be another user's.
        (
            "health --static-token-file /no/such --public-url x",
            &[("MCP_GATEWAY_AUTH", "no-such-verifier")],
            "http://127.0.0.1:8080/health/ready",
        ),
    ] {
        assert_eq!(url(args, env), expected);
    }
    assert!(refusal("health --port 0", &[]).starts_with("port: is 0"));
    assert!(refusal("health --port x", &[]).starts_with("port: \"x\" is not a port"));
}

#[test]
fn the_admin_address_is_loopbacks_unless_it_is_named() {
    let admin = |args: &str| {
        let settings = serve(&format!("{args} -- x"), &[]);
        let admin = settings.admin;
        let told = admin.map(|admin| (admin.address.to_string(), admin.named));
        (told, settings.warnings.len())
    };
    let told = |address: &str, named| Some((address.to_owned(), named));
    assert_eq!(admin(""), (told("127.0.0.1:9090", false), 0));
    assert_eq!(admin("--admin [::1]:0"), (told("[::1]:0", true), 0));
    assert_eq!(
        admin("--admin 0.0.0.0:9090"),
        (told("0.0.0.0:9090", true), 1)
    );
    assert_eq!(admin("--admin off"), (None, 0));
}

#[test]
fn the_demo_is_this_binary_again() {
    let settings = serve("--demo", &[]);
    assert_eq!(settings.policy.service_name, "demo");
    assert_eq!(settings.child.program, std::env::current_exe().unwrap());
    assert_eq!(settings.child.args, ["demo-server"]);
}

#[test]
fn command_line_over_environment_over_file_over_default() {
    let (_directory, config) = file("port = 4\nservice-name = \"file\"");
    let prefixed = ("MCP_GATEWAY_PORT", "3");
    let plain = ("PORT", "5");
    for (args, env, port) in [
        ("--port 2", &[prefixed, plain][..], 2),
        ("", &[prefixed, plain], 3),
        ("", &[plain], 5),
        ("", &[("PORT", "")], 4),
        ("", &[("MCP_GATEWAY_PORT", "tcp://10.0.0.1:8080"), plain], 5),
        ("", &[], 4),
    ] {
        let settings = serve(&format!("{config} --demo {args}"), env);
        assert_eq!(settings.policy.ports, [port], "{args} {env:?}");
        assert_eq!(settings.policy.service_name, "file");
    }
    assert_eq!(serve("--demo", &[]).policy.ports, [8080]);
}

#[test]
fn the_file_can_be_named_in_the_environment() {
    let (directory, _) = file("command = [\"node\", \"a b\"]");
    let path = directory.path().join("gateway.toml");
    let settings = serve("", &[("MCP_GATEWAY_CONFIG", path.to_str().unwrap())]);
    assert_eq!(settings.child.args, ["a b"]);
}

#[test]
fn a_list_replaces_the_list_below_it() {
    let (_directory, config) = file("host = [\"127.0.0.3\", \"127.0.0.4\"]");
    let env = [("MCP_GATEWAY_HOST", "127.0.0.2, ::1,")];
    for (args, env, expected) in [
        (
            "--host [::1] --host 127.0.0.9 --host ::1",
            &env[..],
            &["[::1]:8080", "127.0.0.9:8080"][..],
        ),
        ("", &env, &["127.0.0.2:8080", "[::1]:8080"]),
        ("", &[], &["127.0.0.3:8080", "127.0.0.4:8080"]),
    ] {
        let settings = serve(&format!("{config} --demo {args}"), env);
        assert_eq!(addresses(&settings), expected);
    }
}

#[test]
fn a_command_and_the_demo_take_each_others_place() {
    let (_directory, config) = file("command = [\"node\"]");
    assert_eq!(serve(&config, &[]).child.program, "node");
    let demo = serve(&format!("{config} --demo"), &[]);
    assert_eq!(demo.child.args, ["demo-server"]);
    let command = serve("-- python3", &[("MCP_GATEWAY_DEMO", "on")]);
    assert_eq!(command.child.program, "python3");
    let (_directory, both) = file("demo = true\ncommand = [\"node\"]");
    for args in [both.as_str(), "--demo -- node"] {
        assert!(refusal(args, &[]).starts_with("demo: "), "{args}");
    }
}

#[test]
fn nothing_to_serve_says_what_to_do() {
    let line = refusal("", &[]);
    assert!(line.contains("mcp-gateway -- npx") && line.contains("mcp-gateway --demo"));
    assert_eq!(Error::EXIT_CODE, 2);
}

#[test]
fn every_option_names_itself_when_its_value_is_wrong() {
    let mut refused = BTreeSet::new();
    for (key, values) in [
        ("service-name", &["", "a b", "é", "a/b"][..]),
        ("service-version", &["", "1\n2"]),
        ("port", &["", "-1", "+1", "65536", "http"]),
        (
            "host",
            &["", "localhost", "127.0.0.1:80", "[127.0.0.1]", "256.0.0.1"],
        ),
        (
            "path",
            &[
                "",
                "mcp",
                "/",
                "/health",
                "/health/live",
                "/.well-known/x",
                "/a?b",
                "/a//b",
                "/a/",
                "/../a",
                "/ä",
            ],
        ),
        (
            "public-url",
            &[
                "",
                "x",
                "ftp://a/mcp",
                "https://",
                "https://u:p@a/",
                "https://a/?q",
                "https://a/#f",
                "https://a/$(x)",
                "https://a:b/",
            ],
        ),
        ("allowed-host", &["", "a/b", "a:b", "http://a"]),
        ("allowed-origin", &["", "a", "https://a/b", "null"]),
        ("tls-certificate", &["", "/nowhere/at/all"]),
        ("tls-key", &["", "/nowhere/at/all"]),
        ("allow-unauthenticated", &["maybe"]),
        ("demo", &["maybe"]),
        ("cwd", &["", "/nowhere/at/all", "/etc/passwd"]),
        ("env", &["", "=x", "A B=c", "NOT_SET_ANYWHERE"]),
        ("startup-probe", &["", "maybe"]),
        ("start-ahead", &["", "maybe"]),
        ("discover", &["", "maybe"]),
        ("share", &["", "some", "pool(0)", "pool(x)"]),
        ("seal-key-file", &["", "/nowhere/at/all", "/etc/passwd"]),
        ("guard", &["maybe"]),
        ("log-format", &["", "xml"]),
        (
            "admin",
            &["", "on", "9090", "127.0.0.1", "localhost:9090", "[::1]"],
        ),
        ("access-log", &["", "text"]),
        ("log-level", &["", "inof", "a=b=c"]),
        ("workers", &["", "0", "-1", "1025"]),
        ("poll-after", &["", "0", "later"]),
    ] {
        refused.insert(key.to_owned());
        for value in values {
            let args = [format!("--{key}={value}"), "--".into(), "server".into()];
            let result = parse(args.map(OsString::from), [], "mcp-gateway");
            let line = result.expect_err(&format!("{key}={value}")).to_string();
            assert!(
                line.starts_with(&format!("{key}: ")),
                "{key}={value}: {line}"
            );
            assert!(!line.contains('\n') && !line.contains("u:p"), "{line}");
        }
    }
    let Ok(Invocation::Help(help)) = run("--help", &[]) else {
        panic!("no help");
    };
    // Those about callers have tests of their own.
    let (plain, _) = help.split_once("\nAuthentication:").unwrap();
    let (_, limits) = help.split_once("\nLimits:").unwrap();
    let names = |text: &str| -> Vec<String> {
        let words = text.split_whitespace();
        let names = words.filter_map(|word| word.strip_prefix("--"));
        names
            .map(|name| name.split(['[', '=']).next().unwrap().to_owned())
            .collect()
    };
    for key in names(limits) {
        let line = refusal(&format!("--{key} nonsense --demo"), &[]);
        assert!(line.starts_with(&format!("{key}: \"nonsense\" ")), "{line}");
        refused.insert(key);
    }
    let others = ["", "client", "config", "check-config", "help", "version"];
    let missed: Vec<_> = names(plain)
        .into_iter()
        .filter(|key| !refused.contains(key) && !others.contains(&key.as_str()))
        .collect();
    assert!(missed.is_empty(), "no bad value is tried for {missed:?}");
    assert!(refused.len() > 40);
}

#[test]
fn a_refusal_says_where_the_value_came_from() {
    let (_directory, config) = file("port = 99999");
    for (args, env, part) in [
        ("--demo --port x", &[][..], "(option)"),
        ("--demo", &[("PORT", "x")], "(environment PORT)"),
        (&format!("--demo {config}"), &[], "gateway.toml)"),
    ] {
        let line = refusal(args, env);
        assert!(line.starts_with("port: ") && line.ends_with(part), "{line}");
    }
}

#[test]
fn what_the_command_line_cannot_mean_is_one_line() {
    for (args, part) in [
        ("--prot 1 --demo", "--port"),
        ("node server.js", "goes after --"),
        ("--port", "--port"),
        ("--port 1 --port 2 --demo", "multiple times"),
        ("print-config", "--client"),
        ("print-config --client emacs", "claude-code"),
        ("print-config", "not provided: --client"),
        ("guard", "--marker"),
        (
            "--session-ttl -5 --demo",
            "session-ttl: \"-5\" is not a time",
        ),
        ("--port -1 --demo", "port: \"-1\" is not a port"),
        ("\u{1b}[31mserver", "'?[31mserver'"),
        (
            "--config /nowhere.toml --demo",
            "config: \"/nowhere.toml\" cannot be read",
        ),
    ] {
        let line = refusal(args, &[]);
        assert!(line.contains(part), "{args}: {line}");
    }
    let (_directory, config) = file("prot = 1");
    assert!(refusal(&config, &[]).contains("did you mean port?"));
}

#[test]
fn limits_are_options_too() {
    let (_directory, config) = file("session-ttl = \"10m\"\nsessions = 7\nhead-bytes = \"32KiB\"");
    let args = format!("{config} --demo --poll-after 200ms --body-bytes 1MiB");
    let env = [("MCP_GATEWAY_REQUEST_TIME", "90")];
    let limits = serve(&args, &env).policy.limits;
    assert_eq!(limits.session_ttl, Duration::from_secs(600));
    assert_eq!(limits.sessions, 7);
    assert_eq!(limits.head_bytes, 32 * 1024);
    assert_eq!(limits.body_bytes, 1024 * 1024);
    assert_eq!(limits.poll_after, Some(Duration::from_millis(200)));
    assert_eq!(limits.request_time, Duration::from_secs(90));
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    for (args, key) in [
        ("--drain-time 4s", "drain-time: "),
        ("--terminate-after 1m", "drain-time: "),
        ("--target-bytes 64KiB", "target-bytes: "),
        ("--request-time 2h", "request-time-max: "),
        ("--body-bytes 1GiB", "body-budget-bytes: "),
        ("--body-bytes 17MiB", "stdin-bytes: "),
        ("--sessions 0", "sessions: "),
    ] {
        let line = refusal(&format!("--demo {args}"), &[]);
        assert!(line.starts_with(key), "{args}: {line}");
    }
    serve(
        "--demo --drain-time 0 --terminate-after 0 --kill-after 0",
        &[],
    );
}

#[test]
fn beyond_loopback_needs_to_be_allowed() {
    for (args, key) in [
        ("--host 0.0.0.0", "host: 0.0.0.0 "),
        ("--host 127.0.0.1 --host ::", "host: :: "),
        ("--host 10.0.0.7", "host: 10.0.0.7 "),
        ("--public-url https://gw.example.org", "public-url: "),
    ] {
        let line = refusal(&format!("--demo {args}"), &[]);
        assert!(
            line.starts_with(key) && line.contains("--allow-unauthenticated"),
            "{line}"
        );
        serve(&format!("--demo --allow-unauthenticated {args}"), &[]);
    }
    serve("--demo --host 127.0.0.7 --host ::1", &[]);
    refusal("--demo --allow-unauthenticated=off --host ::", &[]);
}

#[test]
fn a_public_url_is_whole_and_has_an_origin() {
    for (given, whole) in [
        ("https://gw.example.org", "https://gw.example.org/mcp"),
        ("https://gw.example.org/", "https://gw.example.org/mcp"),
        (
            "http://gw.example.org:81/a/b",
            "http://gw.example.org:81/a/b",
        ),
    ] {
        let settings = serve(
            &format!("--demo --allow-unauthenticated --public-url {given}"),
            &[],
        );
        assert_eq!(settings.public_url.as_deref(), Some(whole));
        assert!(settings.policy.public_origin.is_some());
    }
}

#[test]
fn the_child_gets_the_short_list_and_what_is_named() {
    let env = [
        ("PATH", "/bin"),
        ("API_KEY", "k"),
        ("OTHER", "o"),
        ("LC_TIME", "C"),
        ("PORT", "1"),
    ];
    let settings = serve(
        "--env API_KEY --env MODE=a=b --env PATH=/opt -- server",
        &env,
    );
    let pairs = [
        ("API_KEY", "k"),
        ("LC_TIME", "C"),
        ("MODE", "a=b"),
        ("PATH", "/opt"),
    ];
    let expected: Vec<(OsString, OsString)> = pairs.map(|(n, v)| (n.into(), v.into())).into();
    assert_eq!(settings.child.env, expected);
    let (_directory, config) = file("command = [\"server\"]\n[env]\nA = \"x\"");
    assert_eq!(serve(&config, &[]).child.env, [("A".into(), "x".into())]);
}

#[test]
fn check_config_tells_the_source_and_can_be_fed_back() {
    let (_directory, config) = file("sessions = 7\nallowed-host = \"gw.example.org\"");
    let env = [
        ("SERVICE_NAME", "from-env"),
        ("MCP_GATEWAY_POLL_AFTER", "200ms"),
    ];
    let args = format!("{config} --port 9000 --guard off --cwd / -- node server.js --x");
    let document = check_config(&args, &env);
    let line = |key: &str| {
        let key = format!("{key} = ");
        document
            .lines()
            .find(|line| line.starts_with(&key))
            .unwrap()
            .to_owned()
    };
    assert_eq!(line("port"), "port = 9000  # option");
    assert_eq!(line("guard"), "guard = false  # option");
    assert_eq!(
        line("service-name"),
        "service-name = \"from-env\"  # environment SERVICE_NAME"
    );
    assert!(line("sessions").starts_with("sessions = 7  # file "));
    assert_eq!(line("path"), "path = \"/mcp\"  # default");
    assert_eq!(line("session-ttl"), "session-ttl = \"30m\"  # default");
    let (_other, again) = file(&document);
    let (first, second) = (serve(&args, &env), serve(&again, &[]));
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    let strip = |document: &str| -> Vec<String> {
        let lines = document.lines();
        lines
            .map(|line| line.split("  #").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(strip(&check_config(&again, &[])), strip(&document));
}

#[test]
fn check_config_keeps_every_character_of_a_word() {
    let words = [
        "--",
        "a b",
        "it's",
        "\"",
        "line 1\nline 2",
        "\t\\",
        "'''",
        "# é",
    ];
    let args = ["--check-config"].iter().chain(&words).map(OsString::from);
    let Ok(Invocation::CheckConfig(document)) = parse(args, [], "mcp-gateway") else {
        panic!("refused");
    };
    let (_directory, again) = file(&document);
    let child = serve(&again, &[]).child;
    assert_eq!(child.program, words[1]);
    assert_eq!(child.args, words[2..]);
}

#[test]
fn check_config_lists_every_option() {
    let Ok(Invocation::Help(help)) = run("--help", &[]) else {
        panic!("no help");
    };
    let document = check_config("--demo", &[]);
    for line in help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
    {
        let key = line.split([' ', '[']).next().unwrap();
        if !matches!(key, "config" | "check-config") {
            let there = |line: &str| {
                line.starts_with(&format!("{key} = ")) || line == format!("# {key} is not set")
            };
            assert!(document.lines().any(there), "{key} is missing:\n{document}");
        }
    }
}

#[test]
fn secrets_are_masked_wherever_they_are_shown() {
    let env = [("PASSED", "marker-1")];
    let args = "--env PASSED --env TYPED=marker-2 -- server --db=pg://u:marker-3@h/x";
    let document = check_config(args, &env);
    assert!(!document.contains("marker"), "{document}");
    assert!(document.contains("env = [\"PASSED\"]  # option; and, masked: TYPED=***"));
    assert!(document.contains("pg://***@h/x"));
    for args in [
        "--env 1bad!=marker -- server",
        "--demo --public-url https://marker:marker@h/",
        "--demo --allowed-origin https://marker:marker@h",
        "--demo --env A=marker --cwd /nowhere",
    ] {
        assert!(!refusal(args, &[]).contains("marker"), "{args}");
    }
}

#[test]
fn print_config_takes_the_same_options() {
    let (_directory, config) = file("port = 9000\nservice-name = \"filed\"");
    for (args, text) in [
        (
            "print-config --client claude-code",
            "claude mcp add --transport http mcp-gateway http://127.0.0.1:8080/mcp\n",
        ),
        (
            &format!("print-config --client claude-code {config} --path /x"),
            "claude mcp add --transport http filed http://127.0.0.1:9000/x\n",
        ),
        (
            "--host 0.0.0.0 print-config --client claude-code --demo --port 1",
            "claude mcp add --transport http demo http://127.0.0.1:1/mcp\n",
        ),
        (
            "print-config --client claude-code --public-url https://gw.example.org -- node x",
            "claude mcp add --transport http node https://gw.example.org/mcp\n",
        ),
    ] {
        match run(args, &[]) {
            Ok(Invocation::PrintConfig(printed)) => assert_eq!(printed, text, "{args}"),
            other => panic!("{args}: {other:?}"),
        }
    }
    assert!(refusal("print-config --client cursor --port 0", &[]).starts_with("port: "));
}

#[test]
fn the_other_subcommands() {
    assert!(matches!(
        run("demo-server", &[]),
        Ok(Invocation::DemoServer)
    ));
    match run("guard --marker 0123456789abcdef", &[]) {
        Ok(Invocation::Guard { marker }) => assert_eq!(marker, "0123456789abcdef"),
        other => panic!("{other:?}"),
    }
    match run("--version", &[]) {
        Ok(Invocation::Help(text)) => assert!(text.starts_with("mcp-gateway 0.")),
        other => panic!("{other:?}"),
    }
}
