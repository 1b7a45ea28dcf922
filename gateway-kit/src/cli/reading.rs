//! Turns typed values into values that mean something, and keeps what was understood for
//! `--check-config`.

use super::error::{Error, masked, quoted};
use super::typed::{Given, Source, Typed};
use std::ffi::OsStr;
use toml::Value;

/// A line of `--check-config`.
pub(crate) struct Shown {
    key: &'static str,
    /// `None` where nothing is set.
    value: Option<Value>,
    source: Source,
    /// What is in force but must not be shown.
    hidden: Option<String>,
}

/// A walk over the typed values, option by option.
pub(crate) struct Reading<'a> {
    typed: &'a Typed,
    shown: Vec<Shown>,
    remarks: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(typed: &'a Typed) -> Self {
        Self {
            typed,
            shown: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// What is in force as a TOML document that can be given back with `--config`; the remarks are
    /// its last lines.
    pub(crate) fn document(&self) -> String {
        let remark = |text: &String| {
            let text = masked(text).replace(char::is_control, "?");
            format!("# {text}\n")
        };
        let lines = self.shown.iter().map(Shown::line);
        lines.chain(self.remarks.iter().map(remark)).collect()
    }

    /// Adds a comment to the document, for what is in force and no option.
    pub(crate) fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// One value, or what stands if none was typed.
    pub(crate) fn one<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
        show: impl Fn(&T) -> Value,
    ) -> Result<T, Error> {
        let given = self.typed.get(key);
        let value = match given {
            Some(given) => read_only(key, given, read)?,
            None => default,
        };
        self.show(key, Some(show(&value)), given);
        Ok(value)
    }

    /// One value that need not be there.
    pub(crate) fn maybe<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
        show: impl Fn(&T) -> Value,
    ) -> Result<Option<T>, Error> {
        let given = self.typed.get(key);
        let value = given.map(|given| read_only(key, given, read)).transpose()?;
        self.show(key, value.as_ref().map(show), given);
        Ok(value)
    }

    /// Any number of values; `default` if none was typed, and equal ones once.
    pub(crate) fn many<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: Vec<T>,
        read: impl Fn(&str) -> Result<T, String>,
        show: impl Fn(&T) -> Value,
    ) -> Result<Vec<T>, Error> {
        let given = self.typed.get(key);
        let mut values = default;
        if let Some(given) = given {
            values.clear();
            for value in &given.values {
                let value = read_text(key, value, &given.source, &read)?;
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
        let shown = values.iter().map(show).collect();
        self.show(key, Some(Value::Array(shown)), given);
        Ok(values)
    }

    /// The typed values themselves, for what is not read as text.
    pub(crate) fn given(&self, key: &str) -> Option<&'a Given> {
        self.typed.get(key)
    }

    pub(crate) fn show(&mut self, key: &'static str, value: Option<Value>, given: Option<&Given>) {
        self.show_partly(key, value, given, None);
    }

    /// Like [`Self::show`], with a remark on what is left out.
    pub(crate) fn show_partly(
        &mut self,
        key: &'static str,
        value: Option<Value>,
        given: Option<&Given>,
        hidden: Option<String>,
    ) {
        let source = given.map_or(Source::Default, |given| given.source.clone());
        self.shown.push(Shown {
            key,
            value: value.map(mask),
            source,
            hidden,
        });
    }
}

impl Shown {
    fn line(&self) -> String {
        let mut remark = self.source.to_string();
        if let Some(hidden) = &self.hidden {
            remark.push_str("; ");
            remark.push_str(hidden);
        }
        // A file's name may hold anything, and must not end the comment.
        let remark = remark.replace(char::is_control, "?");
        match &self.value {
            Some(value) => format!("{} = {value}  # {remark}\n", self.key),
            None => format!("# {} is not set\n", self.key),
        }
    }
}

fn mask(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(mask).collect()),
        other => other,
    }
}

fn read_only<T>(
    key: &str,
    given: &Given,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Error> {
    match given.values.as_slice() {
        [value] => read_text(key, value, &given.source, read),
        _ => Err(wrong(key, "takes exactly one value", &given.source)),
    }
}

fn read_text<T>(
    key: &str,
    value: &OsStr,
    source: &Source,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Error> {
    let text = text(key, value, source)?;
    read(text).map_err(|why| wrong(key, &format!("{} {why}", quoted(text)), source))
}

/// The value as text.
pub(crate) fn text<'v>(key: &str, value: &'v OsStr, source: &Source) -> Result<&'v str, Error> {
    value
        .to_str()
        .ok_or_else(|| wrong(key, "is not UTF-8", source))
}

/// The line for a value that is refused.
pub(crate) fn wrong(key: &str, why: &str, source: &Source) -> Error {
    Error::about(key, format!("{why} ({source})"))
}
