//! What the user typed: each option's values as text, and where they came from.
//!
//! Nothing is understood here. Three layers (file, environment, command line) are laid over each
//! other, the later one winning option by option; [`super::meaning`] says what the result means.

use super::error::Error;
use super::options::{COMMAND, DEMO, Spec};
use super::value::switch;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    /// The file of that name.
    File(String),
    /// The variable of that name.
    Environment(String),
    Option,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => write!(f, "file {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Option => f.write_str("option"),
        }
    }
}

/// An option's values, in the order in which they were typed.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) values: Vec<OsString>,
    pub(crate) source: Source,
}

/// One layer, or several that were laid over each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    given: BTreeMap<&'static str, Given>,
}

impl Typed {
    pub(crate) fn set(&mut self, spec: &Spec, given: Given) {
        self.given.insert(spec.name, given);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// Whether `demo` is on here, or says something that will be refused.
    pub(crate) fn demo(&self) -> bool {
        let given = self.get(DEMO).and_then(|given| given.values.first());
        given.is_some_and(|value| value.to_str().is_none_or(|text| switch(text) != Ok(false)))
    }

    /// Lays `upper` over this. Lists are replaced, not joined. A command and `demo` stand for the
    /// same thing, so that either one takes the place of the other in the layers below.
    pub(crate) fn overlay(&mut self, upper: Self) -> Result<(), Error> {
        match (upper.get(COMMAND), upper.demo()) {
            (Some(_), true) => {
                return Err(Error::about(
                    DEMO,
                    "is given together with a command; leave one of them out",
                ));
            }
            (Some(_), false) => self.given.remove(DEMO),
            (None, true) => self.given.remove(COMMAND),
            (None, false) => None,
        };
        self.given.extend(upper.given);
        Ok(())
    }
}
