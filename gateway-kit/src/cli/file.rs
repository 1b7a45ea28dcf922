//! The TOML file as a layer.

use super::auth_options::SCOPE;
use super::error::{Error, quoted};
use super::options::{self, ENV, Shape, Spec};
use super::typed::{Given, Source, Typed};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// How unlike a known key may be for it to be offered instead of an unknown one.
const ALIKE: f64 = 0.7;

/// Reads the file at `path`.
pub(crate) fn read(path: &Path) -> Result<Typed, Error> {
    let name = path.display().to_string();
    let about = |why: String| Error::about("config", format!("{} {why}", quoted(&name)));
    let text =
        fs::read_to_string(path).map_err(|error| about(format!("cannot be read: {error}")))?;
    parse(&text, &name).map_err(about)
}

/// What `text` gives; or what is wrong with it.
fn parse(text: &str, name: &str) -> Result<Typed, String> {
    let table: Table = text.parse().map_err(|error| syntax(text, &error))?;
    let mut typed = Typed::default();
    for (key, value) in table {
        let spec = options::all()
            .find(|spec| spec.name == key)
            .ok_or_else(|| unknown(&key))?;
        let values =
            values(&spec, value).map_err(|why| format!("has the key {key}, which {why}"))?;
        let source = Source::File(name.to_owned());
        typed.set(&spec, Given { values, source });
    }
    Ok(typed)
}

fn values(spec: &Spec, value: Value) -> Result<Vec<OsString>, String> {
    let values = match (spec.shape, value) {
        (_, Value::Table(table)) if matches!(spec.name, ENV | SCOPE) => table
            .into_iter()
            .map(|(name, value)| entry(spec, &name, value))
            .collect::<Result<Vec<_>, String>>()?,
        (Shape::Many | Shape::Words, Value::Array(items)) => {
            items.into_iter().map(scalar).collect::<Result<_, _>>()?
        }
        (Shape::Words, _) => {
            return Err(
                r#"must be an array such as ["node", "server.js"]: no shell splits it"#.into(),
            );
        }
        (_, value) => vec![scalar(value)?],
    };
    if values.iter().any(|value| value.contains('\0')) {
        return Err("holds a NUL character".to_owned());
    }
    Ok(values.into_iter().map(Into::into).collect())
}

/// A line of the table of that option.
fn entry(spec: &Spec, name: &str, value: Value) -> Result<String, String> {
    let table = spec.name;
    // No method has such a name, and all lines to the next table are this one's.
    if table == SCOPE && options::all().any(|it| it.name == name) {
        return Err(format!(
            "has the option {name} in it: it stands below [{table}]; put it above"
        ));
    }
    let value =
        scalar(value).map_err(|why| format!("has the key {}, which {why}", quoted(name)))?;
    Ok(format!("{name}={value}"))
}

/// A single value as it would be typed on the command line.
fn scalar(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(true) => Ok("on".to_owned()),
        Value::Boolean(false) => Ok("off".to_owned()),
        other => Err(format!("cannot be of type {}", other.type_str())),
    }
}

fn unknown(key: &str) -> String {
    let alike = |known: &str| strsim::jaro_winkler(&key.replace('_', "-"), known);
    let closest = options::all()
        .map(|spec| spec.name)
        .max_by(|a, b| alike(a).total_cmp(&alike(b)))
        .filter(|known| alike(known) >= ALIKE);
    let key = quoted(key);
    match closest {
        Some(known) => format!("has the unknown key {key}; did you mean {known}?"),
        None => format!("has the unknown key {key}; --help lists all, without their dashes"),
    }
}

/// A syntax error in one line: `toml` draws a picture of several.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    let message = error.message().replace('\n', ", ");
    format!("is not TOML, line {line}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse(text, "gateway.toml").unwrap_err()
    }

    fn given(text: &str, key: &str) -> Vec<OsString> {
        let typed = parse(text, "gateway.toml").unwrap();
        typed.get(key).unwrap().values.clone()
    }

    #[test]
    fn values_are_what_the_command_line_would_say() {
        assert_eq!(given("port = 9000", "port"), ["9000"]);
        assert_eq!(given("guard = false", "guard"), ["off"]);
        assert_eq!(given(r#"host = "::1""#, "host"), ["::1"]);
        assert_eq!(
            given(r#"host = ["::1", "10.0.0.7"]"#, "host"),
            ["::1", "10.0.0.7"]
        );
        assert_eq!(given(r#"env = ["A", "B=1,2"]"#, "env"), ["A", "B=1,2"]);
        assert_eq!(given("[env]\nA = \"x\"\nB = 2", "env"), ["A=x", "B=2"]);
        assert_eq!(
            given("[scope]\n\"tools/call:a*\" = \"x y\"", "scope"),
            ["tools/call:a*=x y"]
        );
        assert_eq!(
            given(r#"command = ["node", "a b"]"#, "command"),
            ["node", "a b"]
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_the_closest_known_one() {
        assert_eq!(
            wrong("prot = 1"),
            r#"has the unknown key "prot"; did you mean port?"#
        );
        assert!(wrong("service_name = 1").ends_with("did you mean service-name?"));
        assert!(wrong("[limits]\nsessions = 1").contains("limits"));
        assert!(wrong("zzz = 1").contains("--help"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        for (text, part) in [
            (
                r#"command = "node server.js""#,
                "command, which must be an array",
            ),
            ("port = 1.5", "port, which cannot be of type float"),
            ("port = [1, 2]", "port, which cannot be of type array"),
            ("[port]\na = 1", "port, which cannot be of type table"),
            (
                "[scope]\nx = [\"a\"]",
                "scope, which has the key \"x\", which cannot be of type array",
            ),
            (
                "[scope]\nport = 1",
                "scope, which has the option port in it: it stands below [scope]; put it above",
            ),
            ("cwd = \"a\\u0000b\"", "cwd, which holds a NUL"),
        ] {
            assert!(wrong(text).contains(part), "{text}: {}", wrong(text));
        }
    }

    #[test]
    fn a_syntax_error_is_one_line_with_its_place() {
        let line = wrong("port = 1\nhost = [\n");
        assert!(line.starts_with("is not TOML, line "), "{line}");
        assert!(!line.contains('\n'));
    }
}
