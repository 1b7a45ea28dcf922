//! Where the gateway of a configuration is reached from its own machine, for the subcommands that
//! ask it. Nothing else of the configuration is read: it may name secrets, or be for another user.

use super::error::Error;
use super::meaning::display;
use super::options::{ADMIN, HOST, PORT, TLS_CERTIFICATE};
use super::reading::Reading;
use super::typed::Typed;
use super::value;
use crate::health::Asked;
use crate::settings::{AdminAddress, reachable};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use toml::Value;

/// The addresses that the gateway listens on.
pub(super) fn listen(reading: &mut Reading<'_>) -> Result<Vec<SocketAddr>, Error> {
    let port = reading.one(PORT, 8080, value::port, |port| {
        Value::from(i64::from(*port))
    })?;
    let host = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    let hosts = reading.many(HOST, host, value::address, display)?;
    if hosts.is_empty() {
        let why = "is an empty list; give an address to listen on";
        return Err(Error::about(HOST, why));
    }
    let addresses = hosts.into_iter().map(|ip| SocketAddr::new(ip, port));
    Ok(addresses.collect())
}

/// The admin address, unless it is off. The default is no value in force: it may be taken.
pub(super) fn admin(reading: &mut Reading<'_>) -> Result<Option<AdminAddress>, Error> {
    let given = reading.maybe(ADMIN, value::admin, |address| match address {
        Some(address) => display(address),
        None => Value::from("off"),
    })?;
    Ok(match given {
        Some(address) => address.map(|address| AdminAddress {
            address,
            named: true,
        }),
        None => Some(AdminAddress::DEFAULT),
    })
}

/// `/health/ready`, which is on loopback unless the gateway listens elsewhere only.
pub(super) fn health(typed: &Typed) -> Result<Asked, Error> {
    let first = reachable(listen(&mut Reading::new(typed))?[0]);
    if first.port() == 0 {
        let why = "is 0, any free port; give --url with the one that was taken";
        return Err(Error::about(PORT, why));
    }
    // Neither file is read: this may be another user.
    let scheme = match typed.get(TLS_CERTIFICATE) {
        Some(_) => "https",
        None => "http",
    };
    Ok(Asked {
        url: format!("{scheme}://{first}/health/ready"),
        roots: None,
    })
}

/// `/status`, at the admin address.
pub(super) fn status(typed: &Typed) -> Result<Asked, Error> {
    let admin = admin(&mut Reading::new(typed))?;
    let why = "is off, and there is nobody to ask";
    let address = admin.ok_or_else(|| Error::about(ADMIN, why))?.address;
    if address.port() == 0 {
        let why = "has port 0, any free one; give the one that was taken, which the log tells";
        return Err(Error::about(ADMIN, why));
    }
    Ok(Asked {
        url: format!("http://{}/status", reachable(address)),
        roots: None,
    })
}
