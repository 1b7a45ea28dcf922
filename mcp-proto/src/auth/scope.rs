//! Which scopes a call needs (RFC 6749 section 3.3).

use super::ScopeRule;

impl ScopeRule {
    /// Whether the rule is about this call. A name that cannot be read, or is not there, may be any.
    fn applies(&self, method: &str, name: Option<&str>) -> bool {
        let names_it = match (&self.name, name) {
            (Some(pattern), Some(name)) => matches(pattern, name),
            (Some(_) | None, _) => true,
        };
        names_it && matches(&self.method, method)
    }
}

/// The scopes that the rules want for a call, each once.
pub(crate) fn wanted<'r>(
    rules: &'r [ScopeRule],
    method: &str,
    name: Option<&str>,
) -> Vec<&'r String> {
    let mut wanted: Vec<&String> = Vec::new();
    let applying = rules.iter().filter(|rule| rule.applies(method, name));
    for scope in applying.flat_map(|rule| &rule.scopes) {
        if !wanted.contains(&scope) {
            wanted.push(scope);
        }
    }
    wanted
}

/// A `scope` value as its scopes (RFC 6749 section 3.3).
pub(crate) fn split(scope: &str) -> Vec<String> {
    let scopes = scope.split(' ').filter(|scope| !scope.is_empty());
    scopes.map(str::to_owned).collect()
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_about_methods_and_names() {
        let rule = |method: &str, name: Option<&str>, scope: &str| ScopeRule {
            method: method.to_owned(),
            name: name.map(str::to_owned),
            scopes: vec![scope.to_owned()],
        };
        let rules = [
            rule("tools/call", Some("delete_*"), "files:write"),
            rule("resources/*", None, "files:read"),
            rule("tools/call", Some("exact"), "exact"),
            rule("tools/call", None, "call"),
        ];
        for (method, name, expected) in [
            (
                "tools/call",
                Some("delete_all"),
                &["files:write", "call"][..],
            ),
            ("tools/call", Some("delete"), &["call"]),
            ("tools/call", Some("exact"), &["exact", "call"]),
            ("tools/call", Some("exactly"), &["call"]),
            ("tools/call", None, &["files:write", "exact", "call"]),
            ("resources/read", Some("file:///x"), &["files:read"]),
            ("resources/list", None, &["files:read"]),
            ("tools/list", None, &[]),
        ] {
            assert_eq!(wanted(&rules, method, name), expected, "{method} {name:?}");
        }
    }
}
