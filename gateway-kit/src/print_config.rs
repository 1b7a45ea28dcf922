//! The configuration that each client needs to reach the gateway, ready to paste.

use http::Uri;
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

/// The configuration with which `client` reaches `url` under the name `service_name`: a shell
/// command or a JSON document, and a line end.
///
/// Nobody is asked for a token yet, so no entry has an `Authorization` header: each form has one
/// place for it, the `headers` beside the URL, or `--header`.
pub fn configuration(client: Client, service_name: &str, url: &str) -> String {
    let (key, entry) = match client {
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
            return shell_line(&add);
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
            return shell_line(&inspect);
        }
        Client::ClaudeDesktop => ("mcpServers", stdio_bridge(url)),
        Client::ClaudeJson => ("mcpServers", json!({"type": "http", "url": url})),
        Client::Cursor => ("mcpServers", json!({"url": url})),
        Client::VsCode => ("servers", json!({"type": "http", "url": url})),
    };
    let document = json!({key: {service_name: entry}});
    format!("{document:#}\n")
}

/// Claude Desktop's file knows only commands: this one speaks stdio there and HTTP here.
fn stdio_bridge(url: &str) -> Value {
    let mut args = vec!["-y", "mcp-remote", url];
    if !is_taken_by_mcp_remote(url) {
        args.push("--allow-http");
    }
    json!({"command": "npx", "args": args})
}

/// mcp-remote takes plain HTTP by itself only for these two names; `[::1]` is not one of them.
fn is_taken_by_mcp_remote(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return true;
    };
    url.scheme_str() != Some("http") || matches!(url.host(), Some("localhost" | "127.0.0.1"))
}

/// The words as a line that a POSIX shell reads as just these words.
fn shell_line(words: &[&str]) -> String {
    // Only a NUL cannot be quoted, and no word of ours has one.
    let words = words.iter().map(|word| word.replace('\0', ""));
    let line = words
        .map(|word| shlex::try_quote(&word).map_or_else(|_| String::new(), Into::into))
        .collect::<Vec<String>>()
        .join(" ");
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:8080/mcp";

    fn document(client: Client, url: &str) -> Value {
        serde_json::from_str(&configuration(client, "demo", url)).unwrap()
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
            configuration(Client::ClaudeCode, "demo", URL),
            "claude mcp add --transport http demo http://127.0.0.1:8080/mcp\n"
        );
        assert_eq!(
            configuration(Client::Inspector, "demo", URL),
            "npx -y @modelcontextprotocol/inspector --transport http --server-url http://127.0.0.1:8080/mcp\n"
        );
        let hostile = configuration(Client::ClaudeCode, "a b", "http://x/$(rm)'");
        let words = shlex::split(&hostile).unwrap();
        assert_eq!(words[5..], ["a b", "http://x/$(rm)'"]);
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
