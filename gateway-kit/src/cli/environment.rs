//! The environment as a layer: `MCP_GATEWAY_<NAME>` for every option, and a plain name for three.

use super::error::Error;
use super::options::{self, Shape, Spec};
use super::typed::{Given, Source, Typed};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// The variables that the process was started with.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// Reads the layer. An empty variable counts as one that is not set, since compose files pass
/// unset ones on as empty.
pub(crate) fn read(env: &Environment) -> Result<Typed, Error> {
    let mut typed = Typed::default();
    for spec in options::all() {
        let found = options::variables(&spec)
            .into_iter()
            .find_map(|variable| Some((value(env, &variable)?, variable)));
        if let Some((value, variable)) = found {
            let values = split(&spec, value, &variable)?;
            let source = Source::Environment(variable);
            typed.set(&spec, Given { values, source });
        }
    }
    Ok(typed)
}

/// The value of a variable that is set, and meant for the gateway.
pub(crate) fn value<'a>(env: &'a Environment, variable: &str) -> Option<&'a OsString> {
    let value = env.get(&OsString::from(variable))?;
    // Kubernetes sets MCP_GATEWAY_PORT=tcp://10.0.0.1:8080 beside a service named mcp-gateway.
    let service_link = value
        .to_str()
        .is_some_and(|text| text.starts_with("tcp://"));
    (!value.is_empty() && !service_link).then_some(value)
}

fn split(spec: &Spec, value: &OsString, variable: &str) -> Result<Vec<OsString>, Error> {
    if spec.shape != Shape::Many {
        return Ok(vec![value.clone()]);
    }
    let text = value
        .to_str()
        .ok_or_else(|| Error::about(variable, "is not UTF-8"))?;
    let parts = text.split(',').map(str::trim);
    Ok(parts
        .filter(|part| !part.is_empty())
        .map(Into::into)
        .collect())
}
