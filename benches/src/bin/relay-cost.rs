//! Prints what a relayed request costs: `mcp-gateway` and `mcp-gateway-smol` in front of
//! `echo-child`, beside `limit`, driven in turn. `benches/run` builds all of them and runs this.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use benches::load::{self, Load, Measured, TOKEN, Target};
use benches::process::{self, Running};

const HELP: &str = "\
Usage: relay-cost [OPTIONS] [-- OPTIONS OF THE GATEWAY]

  --seconds SECONDS   Time of each measurement [default: 1.5]
  --rounds ROUNDS     Measurements of each kind, of which the median counts [default: 3]
  --gateway PATH      A gateway, and further ones if given again
                      [default: mcp-gateway and mcp-gateway-smol, beside this binary]
";

/// Makes calls of 0.3 KB.
const TEXT: usize = 200;

const ONE_SESSION: Load = Load {
    connections: 32,
    text: TEXT,
    notifications: 0,
};
const ONE_CONNECTION: Load = Load {
    connections: 1,
    ..ONE_SESSION
};
const NOTIFICATIONS: Load = Load {
    notifications: 100,
    ..ONE_SESSION
};

struct Options {
    time: Duration,
    rounds: usize,
    gateways: Vec<PathBuf>,
    rest: Vec<String>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match parse(&mut arguments) {
        Ok(Some(options)) => match run(options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("relay-cost: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("relay-cost: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &mut impl Iterator<Item = String>) -> io::Result<Option<Options>> {
    let mut options = Options {
        time: Duration::from_millis(1500),
        rounds: 3,
        gateways: Vec::new(),
        rest: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            options.rest = arguments.collect();
            break;
        }
        if argument == "--help" {
            return Ok(None);
        }
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| io::Error::other(format!("{argument} needs a value")))
        };
        match argument.as_str() {
            "--seconds" => {
                let seconds = value()?.parse().map_err(io::Error::other)?;
                options.time = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
            }
            "--rounds" => options.rounds = value()?.parse().map_err(io::Error::other)?,
            "--gateway" => options.gateways.push(value()?.into()),
            _ => return Err(io::Error::other(format!("unknown option: {argument}"))),
        }
    }
    if options.gateways.is_empty() {
        options.gateways = vec![sibling("mcp-gateway")?, sibling("mcp-gateway-smol")?];
    }
    if options.rounds == 0 {
        return Err(io::Error::other("--rounds: there must be one"));
    }
    Ok(Some(options))
}

/// A binary that was built with this one.
fn sibling(name: &str) -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

/// The server that answers from a constant.
struct Limit {
    process: Running,
    target: Target,
}

impl Limit {
    fn start() -> io::Result<Self> {
        let mut command = Command::new(sibling("limit")?);
        command.arg(TEXT.to_string()).stdout(Stdio::piped());
        let mut process = Running::start(&mut command)?;
        let mut line = String::new();
        if let Some(stdout) = process.child().stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self {
            process,
            target: Target::new(address),
        })
    }
}

/// The gateway, with a session open.
struct Gateway {
    name: String,
    process: Running,
    child: u32,
    target: Target,
}

impl Gateway {
    /// With `token` every request's token is verified, and is a line of the audit trail.
    async fn start(path: &Path, rest: &[String], token: Option<&str>) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let with_token = token.map_or("", |_| ", with a token");
        // Free a moment ago: the gateway says which port it took to people only.
        let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(path);
        command
            .args(["--port", &address.port().to_string()])
            .args(["--startup-probe", "off", "--log-level", "warn"])
            .args(rest)
            .arg("--")
            .arg(sibling("echo-child")?);
        command.stdout(Stdio::null());
        if let Some(token) = token {
            // The variable of a service that is named after the command.
            command.env("ECHO_CHILD_API_TOKEN", token);
        }
        let process = Running::start(&mut command)?;
        let target = Target::open(address).await?;
        let children = process::children(process.id(), "echo-child")?;
        let &[child] = children.as_slice() else {
            return Err(io::Error::other("the session should have one child"));
        };
        Ok(Self {
            name: format!("{name}{with_token}"),
            process,
            child,
            target,
        })
    }
}

/// One measurement of one server.
struct Cost {
    per_second: f64,
    median: f64,
    cpu: f64,
    child: f64,
}

impl Cost {
    /// The probes are the server's processor time and its child's.
    fn of(measured: &Measured<(Duration, Duration)>) -> Self {
        let calls = measured.calls as f64;
        let ((before, child_before), (after, child_after)) = measured.probes;
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
        Self {
            per_second: calls / measured.time.as_secs_f64(),
            median: microseconds(measured.median),
            cpu: microseconds(after.saturating_sub(before)) / calls,
            child: microseconds(child_after.saturating_sub(child_before)) / calls,
        }
    }
}

/// What one load has cost in each round.
#[derive(Default)]
struct Costs {
    limit: Vec<Cost>,
    /// By gateway.
    gateways: Vec<Vec<Cost>>,
}

fn run(options: Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let limit = Limit::start()?;
        let mut gateways = Vec::new();
        for path in &options.gateways {
            gateways.push(Gateway::start(path, &options.rest, None).await?);
        }
        if let Some(first) = options.gateways.first() {
            gateways.push(Gateway::start(first, &options.rest, Some(TOKEN)).await?);
        }
        let mut all = [ONE_SESSION, ONE_CONNECTION, NOTIFICATIONS].map(|load| {
            let mut costs = Costs::default();
            costs.gateways.resize_with(gateways.len(), Vec::new);
            (load, costs)
        });
        for _ in 0..options.rounds {
            for (load, costs) in &mut all {
                if load.notifications == 0 {
                    let measured = load::measure(&limit.target, *load, options.time, || {
                        Ok((process::cpu(limit.process.id())?, Duration::ZERO))
                    });
                    costs.limit.push(Cost::of(&measured.await?));
                }
                for (gateway, costs) in gateways.iter().zip(&mut costs.gateways) {
                    costs.push(relay(gateway, *load, options.time).await?);
                }
            }
        }
        print(&options, &gateways, &all)
    })
}

async fn relay(gateway: &Gateway, load: Load, time: Duration) -> io::Result<Cost> {
    let measured = load::measure(&gateway.target, load, time, || {
        Ok((
            process::cpu(gateway.process.id())?,
            process::cpu(gateway.child)?,
        ))
    });
    Ok(Cost::of(&measured.await?))
}

fn print(options: &Options, gateways: &[Gateway], all: &[(Load, Costs)]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Medians of {} rounds of {:?}; calls of 0.3 KB, one session, one child.\n",
        options.rounds, options.time
    )?;
    writeln!(
        out,
        "| load | server | requests/s | p50, µs | CPU per request, µs | ratio | child's CPU, µs |"
    )?;
    writeln!(out, "| --- | --- | ---: | ---: | ---: | ---: | ---: |")?;
    for (load, costs) in all {
        let name = match (load.connections, load.notifications) {
            (1, 0) => "1 connection".to_owned(),
            (connections, 0) => format!("{connections} connections"),
            (connections, notifications) => {
                format!("{connections} connections, {notifications} notifications")
            }
        };
        if !costs.limit.is_empty() {
            row(&mut out, &name, "limit", &costs.limit, Some(1.0))?;
        }
        for (gateway, of_gateway) in gateways.iter().zip(&costs.gateways) {
            // Each round by itself: what slows the machine down slows all of a round.
            let rounds = of_gateway.iter().zip(&costs.limit);
            let ratios = rounds.map(|(gateway, limit)| gateway.cpu / limit.cpu);
            let ratio = (!costs.limit.is_empty()).then(|| median(ratios));
            row(&mut out, &name, &gateway.name, of_gateway, ratio)?;
        }
    }
    Ok(())
}

fn row(
    out: &mut impl Write,
    load: &str,
    server: &str,
    costs: &[Cost],
    ratio: Option<f64>,
) -> io::Result<()> {
    let per_second = median(costs.iter().map(|cost| cost.per_second));
    let p50 = median(costs.iter().map(|cost| cost.median));
    let cpu = median(costs.iter().map(|cost| cost.cpu));
    let child = median(costs.iter().map(|cost| cost.child));
    let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    let child = match server {
        "limit" => "-".to_owned(),
        _ => format!("{child:.1}"),
    };
    writeln!(
        out,
        "| {load} | {server} | {per_second:.0} | {p50:.0} | {cpu:.1} | {ratio} | {child} |"
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
