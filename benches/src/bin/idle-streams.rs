//! Prints what an idle event stream costs each gateway in memory. `benches/idle-streams` builds what
//! is needed and runs this.
//!
//! The gateway is a process of its own, so that nothing of the client counts. What is measured is its
//! proportional set size, before the streams are opened and after each of them has carried its first
//! comment; the kernel's share of a connection is not in it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use benches::process::Running;
use benches::wire;
use rustix::process::{Resource, getrlimit, setrlimit};

const HELP: &str = "\
Usage: idle-streams [OPTIONS]

  --streams COUNT     Streams on each gateway [default: 10000]
  --most KIB          Most that one may cost; beyond it this ends with 1 [default: 32]
  --gateway PATH      The gateway, more than once for several [default: mcp-gateway and
                      mcp-gateway-smol, beside this binary]
";

/// Few children, so that what a session costs does not count.
const SESSIONS: usize = 8;

/// Threads that open streams.
const THREADS: usize = 4;

/// Descriptors that a process needs beside those of its streams.
const OTHER_DESCRIPTORS: u64 = 200;

struct Options {
    streams: usize,
    most: u64,
    gateways: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("idle-streams: {error}");
            return ExitCode::from(2);
        }
    };
    let mut good = true;
    for gateway in &options.gateways {
        match measure(gateway, options.streams) {
            Ok(each) => good &= each <= options.most * 1024,
            Err(error) => {
                eprintln!("idle-streams: {}: {error}", gateway.display());
                good = false;
            }
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        eprintln!("idle-streams: each stream may cost {} KiB", options.most);
        ExitCode::FAILURE
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Option<Options>> {
    let mut options = Options {
        streams: 10_000,
        most: 32,
        gateways: Vec::new(),
    };
    while let Some(name) = arguments.next() {
        if name == "--help" {
            return Ok(None);
        }
        let value = arguments
            .next()
            .ok_or_else(|| io::Error::other(format!("{name} takes a value; see --help")))?;
        let number = || value.parse().map_err(io::Error::other);
        match name.as_str() {
            "--streams" => options.streams = value.parse().map_err(io::Error::other)?,
            "--most" => options.most = number()?,
            "--gateway" => options.gateways.push(value.into()),
            _ => return Err(io::Error::other(format!("no option is {name}"))),
        }
    }
    if options.gateways.is_empty() {
        let own = std::env::current_exe()?;
        let beside = ["mcp-gateway", "mcp-gateway-smol"].map(|name| own.with_file_name(name));
        options.gateways = beside.into();
    }
    Ok(Some(options))
}

/// Opens the streams, prints what they cost, and returns what each did, in bytes.
fn measure(gateway: &Path, streams: usize) -> io::Result<u64> {
    allow_descriptors(streams as u64 + OTHER_DESCRIPTORS)?;
    let mut command = Command::new(gateway);
    command
        .args(["--demo", "--startup-probe", "off", "--port", "0"])
        .args(["--audit", "off", "--log-level", "warn"])
        .args(["--comment-time", "2s"])
        .args(["--sessions", &SESSIONS.to_string()])
        .args(["--streams-per-session", &streams.to_string()])
        .args(["--connections", &(streams + 100).to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut running = Running::start(&mut command)?;
    let stdout = running.child().stdout.take();
    let mut url = String::new();
    // It tells its URL in the first line.
    BufReader::new(stdout.ok_or_else(|| io::Error::other("no stdout"))?).read_line(&mut url)?;
    let address = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    let address: SocketAddr = address
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no URL: {url:?}")))?;

    let sessions: Vec<String> = (0..SESSIONS)
        .map(|_| open_session(address))
        .collect::<io::Result<_>>()?;
    // Whatever is there once for all streams is there.
    let first = open_stream(address, &sessions[0])?;
    let before = memory(running.id())?;
    let open = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let sessions = &sessions;
                scope.spawn(move || {
                    (thread..streams)
                        .step_by(THREADS)
                        .map(|stream| open_stream(address, &sessions[stream % SESSIONS]))
                        .collect::<io::Result<Vec<_>>>()
                })
            })
            .collect();
        let opened = threads.into_iter().map(|thread| thread.join());
        opened
            .map(|opened| opened.map_err(|_| io::Error::other("a thread panicked"))?)
            .collect::<io::Result<Vec<_>>>()
    })?;
    let mut open: Vec<TcpStream> = open.into_iter().flatten().collect();
    open.push(first);
    for stream in &mut open {
        read_until(stream, b"\n\n")?;
    }
    let after = memory(running.id())?;
    let each = after.saturating_sub(before) / streams as u64;
    println!(
        "{}: {streams} idle streams: {} MiB before, {} MiB after, {:.1} KiB each",
        gateway.file_name().unwrap_or_default().display(),
        before / 1024 / 1024,
        after / 1024 / 1024,
        each as f64 / 1024.0
    );
    Ok(each)
}

/// Raises the limit of descriptors, which the gateway inherits.
fn allow_descriptors(needed: u64) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(needed);
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

/// The proportional set size of a process, in bytes (proc(5)).
fn memory(id: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| io::Error::other("the kernel tells no Pss"))
}

fn open_session(address: SocketAddr) -> io::Result<String> {
    let mut body = Vec::new();
    wire::push_initialize(&mut body, 1);
    let mut stream = connect(address)?;
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let id = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("mcp-session-id")
            .then(|| value.to_owned())
    });
    id.ok_or_else(|| io::Error::other(format!("no session: {answer}")))
}

/// Opens a stream and reads its first event.
fn open_stream(address: SocketAddr, session: &str) -> io::Result<TcpStream> {
    let mut stream = connect(address)?;
    write!(
        stream,
        "GET /mcp HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\
         Mcp-Session-Id: {session}\r\n\r\n"
    )?;
    let head = read_until(&mut stream, b"\r\n\r\n")?;
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::Error::other(
            String::from_utf8_lossy(&head).into_owned(),
        ));
    }
    read_until(&mut stream, b"\n\n")?;
    Ok(stream)
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    // Only a gateway that hangs takes so long.
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Reads up to and with `end`, and nothing of what follows.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end) {
        stream.read_exact(&mut byte)?;
        read.extend_from_slice(&byte);
    }
    Ok(read)
}
