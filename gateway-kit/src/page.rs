//! What a person sees who opens the gateway in a browser.

use crate::print_config::{Client, configuration};
use html_escape::{encode_double_quoted_attribute as attribute, encode_text as text};

/// The page at `/`: what this is, and how to add it to a client.
///
/// `token_variable` is the variable that holds a caller's token, where one is needed. The page
/// has no script and loads nothing: `default-src 'none'; style-src 'unsafe-inline'` is policy
/// enough for it.
pub fn page(service_name: &str, version: &str, url: &str, token_variable: Option<&str>) -> String {
    let claude = configuration(Client::ClaudeCode, service_name, url, token_variable);
    let vscode = configuration(Client::VsCode, service_name, url, token_variable);
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: an MCP server</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }}
pre {{ background: #f3f3f3; color: #222; padding: 0.75rem; overflow-x: auto; }}
</style>
</head>
<body>
<h1>{name} <small>{version}</small></h1>
<p>This is an <a href="https://modelcontextprotocol.io">MCP</a> server. A browser has no use for it;
an MCP client does, at this URL (Streamable HTTP):</p>
<pre><a href="{href}">{url}</a></pre>
<h2>Claude Code</h2>
<pre>{claude}</pre>
<h2>VS Code (.vscode/mcp.json)</h2>
<pre>{vscode}</pre>
<p>For other clients: <code>mcp-gateway print-config --help</code>. Whether the server is well:
<a href="/health">/health</a>.</p>
</body>
</html>
"#,
        name = text(service_name),
        version = text(version),
        href = attribute(url),
        url = text(url),
        claude = text(claude.trim_end()),
        vscode = text(vscode.trim_end()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_what_this_is() {
        let html = page("demo", "1.2.3", "http://127.0.0.1:8080/mcp", None);
        assert!(!html.contains("Authorization"));
        for part in [
            "demo",
            "1.2.3",
            "http://127.0.0.1:8080/mcp",
            "claude mcp add",
        ] {
            assert!(html.contains(part), "{part}");
        }
    }

    #[test]
    fn nothing_that_is_shown_can_be_markup() {
        let html = page(
            "<b>x</b>",
            "\"><script>1</script>",
            "http://a/\"><script>2</script>&b",
            Some("<script>3</script>"),
        );
        assert!(!html.contains("<script") && !html.contains("<b>"));
        assert!(html.contains("&lt;b&gt;x") && html.contains("Authorization"));
        assert!(!html.contains("href=\"http://a/\">"));
    }
}
