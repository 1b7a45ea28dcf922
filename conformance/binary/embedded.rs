//! A gateway in a process that is not its own: the example of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::http;
use super::run::{Ended, signal_process};
use crate::{BINARY, EXAMPLE};

#[test]
fn an_embedded_gateway_serves_and_stops() {
    // cargo builds a package's examples with its tests, unless it is told which tests to run.
    let example = Path::new(BINARY).with_file_name("examples").join(EXAMPLE);
    let process = Command::new(example).stdout(Stdio::piped()).spawn();
    let mut process = Ended(process.expect("cargo build --examples comes before"));
    let stdout = process.0.stdout.take().expect("stdout is piped");
    // Kept to the end, since audit records follow.
    let mut stdout = BufReader::new(stdout);
    let mut url = String::new();
    stdout.read_line(&mut url).expect("stdout can be read");
    let address = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next()?.parse().ok());
    http::initialize(address.expect("the example tells its URL"));
    signal_process(process.0.id(), "-INT");
    let status = process.0.wait().expect("it is a child");
    assert!(status.success(), "{status}");
}
