//! The configuration that each client needs to reach the gateway, ready to paste.

use crate::static_tokens;
use http::Uri;
use mcp_proto::Policy;
use mcp_proto::auth::Discovery;
use serde_json::{Value, json};

/// A client whose configuration the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Claude Code's command line.
    ClaudeCode,
    /// Claude Code's file, `.mcp.json`.
    ClaudeJson,
    /// Claude Desktop's file, `claude_desktop_config.json`.
    ClaudeDesktop,
    /// Cursor's file, `~/.cursor/mcp.json`.
    Cursor,
    /// VS Code's file, `.vscode/mcp.json`.
    VsCode,
    /// MCP Inspector's command line.
    Inspector,
}

impl Client {
    /// Every client.
    pub const ALL: [Self; 6] = [
        Self::ClaudeCode,
        Self::ClaudeJson,
        Self::ClaudeDesktop,
        Self::Cursor,
        Self::VsCode,
        Self::Inspector,
    ];

    /// The name after `--client`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeJson => "claude-json",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::Inspector => "inspector",
        }
    }

    /// The client of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|client| client.name() == name)
    }
}

/// The variable in which a caller has the token, where a client must be told to send one: not where
/// nobody is asked, and not where clients find an authorization server, since a configured header
/// keeps some of them from asking it. `configured` is the variable that the gateway itself was told
/// of; the service's own stands in for it.
pub fn token_variable(policy: &Policy, configured: Option<&str>) -> Option<String> {
    let auth = &policy.auth;
    let discovered = auth.authorization_server.is_some() && auth.discovery != Discovery::Off;
    let needed = !auth.verifiers.is_empty() && !discovered;
    needed.then(|| match configured {
        Some(variable) => variable.to_owned(),
        None => static_tokens::variable(&policy.service_name),
    })
}

/// The configuration with which `client` reaches `url` under the name `service_name`: a shell
/// command or a JSON document, and a line end.
///
/// With a `token_variable` it sends the token that is in this variable, and has the variable's name
/// in place of the token. Where a client reads no variable, it asks for the token (VS Code), or
/// `<NAME>` is to be replaced by it (Claude Desktop).
pub fn configuration(
    client: Client,
    service_name: &str,
    url: &str,
    token_variable: Option<&str>,
) -> String {
    let (key, mut entry) = match client {
        Client::ClaudeCode => {
            let add = [
                "claude",
                "mcp",
                "add",
                "--transport",
                "http",
                service_name,
                url,
            ];
            // Last, since `claude` takes all words after `--header` for headers.
            return shell_line(&add, token_variable);
        }
        Client::Inspector => {
            let package = "@modelcontextprotocol/inspector";
            let inspect = [
                "npx",
                "-y",
                package,
                "--transport",
                "http",
                "--server-url",
                url,
            ];
            return shell_line(&inspect, token_variable);
        }
        Client::ClaudeDesktop => ("mcpServers", stdio_bridge(url, token_variable)),
        Client::ClaudeJson => ("mcpServers", json!({"type": "http", "url": url})),
        Client::Cursor => ("mcpServers", json!({"url": url})),
        Client::VsCode => ("servers", json!({"type": "http", "url": url})),
    };
    let input = input_id(service_name);
    let reference = match (client, token_variable) {
        (Client::ClaudeJson, Some(variable)) => Some(format!("${{{variable}}}")),
        (Client::Cursor, Some(variable)) => Some(format!("${{env:{variable}}}")),
        (Client::VsCode, Some(_)) => Some(format!("${{input:{input}}}")),
        _ => None,
    };
    if let Some(reference) = reference {
        entry["headers"] = json!({"Authorization": format!("Bearer {reference}")});
    }
    let mut document = json!({key: {service_name: entry}});
    if client == Client::VsCode && token_variable.is_some() {
        document["inputs"] = json!([{
            "type": "promptString",
            "id": input,
            "description": format!("Token for {service_name}"),
            "password": true,
        }]);
    }
    format!("{document:#}\n")
}

/// The name under which VS Code asks for the token and keeps it.
fn input_id(service_name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = service_name.chars().map(fit).collect();
    format!("{name}-token")
}

/// Claude Desktop's file knows only commands: this one speaks stdio there and HTTP here. A space
/// within an argument is lost on some systems, so that the header's value goes in a variable, which
/// mcp-remote puts in.
fn stdio_bridge(url: &str, token_variable: Option<&str>) -> Value {
    let mut args = vec!["-y", "mcp-remote", url];
    if !is_taken_by_mcp_remote(url) {
        args.push("--allow-http");
    }
    let Some(variable) = token_variable else {
        return json!({"command": "npx", "args": args});
    };
    args.extend(["--header", "Authorization:${AUTH_HEADER}"]);
    let env = json!({"AUTH_HEADER": format!("Bearer <{variable}>")});
    json!({"command": "npx", "args": args, "env": env})
}

/// mcp-remote takes plain HTTP by itself only for these two names; `[::1]` is not one of them.
fn is_taken_by_mcp_remote(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return true;
    };
    url.scheme_str() != Some("http") || matches!(url.host(), Some("localhost" | "127.0.0.1"))
}

/// The words as a line that a POSIX shell reads as just these words, and the option that sends the
/// token; in it the shell puts the variable's value.
fn shell_line(words: &[&str], token_variable: Option<&str>) -> String {
    // Only a NUL cannot be quoted, and no word of ours has one.
    let words = words.iter().map(|word| word.replace('\0', ""));
    let mut line = words
        .map(|word| shlex::try_quote(&word).map_or_else(|_| String::new(), Into::into))
        .collect::<Vec<String>>()
        .join(" ");
    if let Some(variable) = token_variable {
        line.push_str(&format!(" --header \"Authorization: Bearer ${variable}\""));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:8080/mcp";

    fn document(client: Client, url: &str) -> Value {
        serde_json::from_str(&configuration(client, "demo", url, None)).unwrap()
    }

    #[test]
    fn files_are_what_each_client_reads() {
        let http = json!({"type": "http", "url": URL});
        for (client, expected) in [
            (Client::ClaudeJson, json!({"mcpServers": {"demo": http}})),
            (
                Client::Cursor,
                json!({"mcpServers": {"demo": {"url": URL}}}),
            ),
            (Client::VsCode, json!({"servers": {"demo": http}})),
            (
                Client::ClaudeDesktop,
                json!({"mcpServers": {"demo": {"command": "npx", "args": ["-y", "mcp-remote", URL]}}}),
            ),
        ] {
            assert_eq!(document(client, URL), expected, "{client:?}");
        }
    }

    #[test]
    fn command_lines_are_what_each_client_takes() {
        assert_eq!(
            configuration(Client::ClaudeCode, "demo", URL, None),
            "claude mcp add --transport http demo http://127.0.0.1:8080/mcp\n"
        );
        assert_eq!(
            configuration(Client::Inspector, "demo", URL, None),
            "npx -y @modelcontextprotocol/inspector --transport http --server-url http://127.0.0.1:8080/mcp\n"
        );
        let hostile = configuration(Client::ClaudeCode, "a b", "http://x/$(rm)'", None);
        let words = shlex::split(&hostile).unwrap();
        assert_eq!(words[5..], ["a b", "http://x/$(rm)'"]);
    }

    #[test]
    fn a_token_is_named_as_each_client_has_it() {
        let shown = |client| configuration(client, "a b", URL, Some("A_B_API_TOKEN"));
        let header = "--header \"Authorization: Bearer $A_B_API_TOKEN\"\n";
        for client in [Client::ClaudeCode, Client::Inspector] {
            assert!(shown(client).ends_with(header), "{client:?}");
        }
        let parsed = |client| -> Value { serde_json::from_str(&shown(client)).unwrap() };
        let claude = parsed(Client::ClaudeJson);
        let headers = json!({"Authorization": "Bearer ${A_B_API_TOKEN}"});
        assert_eq!(claude["mcpServers"]["a b"]["headers"], headers);
        let cursor = parsed(Client::Cursor);
        let headers = json!({"Authorization": "Bearer ${env:A_B_API_TOKEN}"});
        assert_eq!(cursor["mcpServers"]["a b"]["headers"], headers);
        let vscode = parsed(Client::VsCode);
        let headers = json!({"Authorization": "Bearer ${input:a-b-token}"});
        assert_eq!(vscode["servers"]["a b"]["headers"], headers);
        let input = &vscode["inputs"][0];
        assert_eq!(
            (&input["id"], &input["password"]),
            (&json!("a-b-token"), &json!(true))
        );
        let desktop = parsed(Client::ClaudeDesktop);
        let entry = &desktop["mcpServers"]["a b"];
        let args = json!([
            "-y",
            "mcp-remote",
            URL,
            "--header",
            "Authorization:${AUTH_HEADER}"
        ]);
        assert_eq!(entry["args"], args);
        assert_eq!(
            entry["env"],
            json!({"AUTH_HEADER": "Bearer <A_B_API_TOKEN>"})
        );
    }

    #[test]
    fn a_header_is_for_callers_who_find_no_authorization_server() {
        use mcp_proto::auth::{AuthorizationServer, Verifier};

        let mut policy = Policy::default();
        assert_eq!(token_variable(&policy, None), None);
        policy.auth.verifiers = vec![Verifier::Static(Vec::new())];
        policy.service_name = "demo-mcp".to_owned();
        let variable = |configured| token_variable(&policy, configured);
        assert_eq!(variable(None).as_deref(), Some("DEMO_API_TOKEN"));
        assert_eq!(variable(Some("ALICE")).as_deref(), Some("ALICE"));
        policy.auth.authorization_server = Some(AuthorizationServer {
            issuer: "https://as.example.org".to_owned(),
            metadata: None,
        });
        assert_eq!(token_variable(&policy, None), None);
        policy.auth.discovery = Discovery::Off;
        let variable = token_variable(&policy, None);
        assert_eq!(variable.as_deref(), Some("DEMO_API_TOKEN"));
    }

    #[test]
    fn mcp_remote_is_told_of_plain_http_where_it_would_refuse() {
        for (url, told) in [
            ("https://gw.example.org/mcp", false),
            ("http://localhost:8080/mcp", false),
            ("http://127.0.0.1:8080/mcp", false),
            ("http://[::1]:8080/mcp", true),
            ("http://10.0.0.7:8080/mcp", true),
        ] {
            let document = document(Client::ClaudeDesktop, url);
            let args = document["mcpServers"]["demo"]["args"].as_array().unwrap();
            assert_eq!(args.contains(&json!("--allow-http")), told, "{url}");
        }
    }

    #[test]
    fn names_are_found_again() {
        for client in Client::ALL {
            assert_eq!(Client::named(client.name()), Some(client));
        }
        assert_eq!(Client::named("emacs"), None);
    }
}
