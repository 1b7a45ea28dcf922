"""What every part of the test needs: programs, certificates, a gateway, and the list of checks."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import traceback
from pathlib import Path

import harness
from harness import Failed

HERE = Path(__file__).resolve().parent
DEPLOY = harness.ROOT / "deploy"
# As all that is in deploy/ and in docs/OPERATING.md names it.
HOST = "mcp.example.com"
TOKEN = "a-token-that-the-operator-gave-out"
TOKEN_VARIABLE = "NOTES_API_TOKEN"
READY_WITHIN = 30


def program(name, package):
    # Debian has some where only root's PATH looks.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise Failed(f"there is no {name}; install it (Debian: apt-get install {package})")
    return found


def prepare():
    """Fetches and builds what needs the network, before there is none."""
    if os.geteuid() != 0:
        raise Failed("networks and containers of its own need root")
    harness.install_npm(harness.CONFORMANCE / "fixtures", "fixtures")
    harness.install_npm(harness.CONFORMANCE / "clients", "clients")
    harness.install_python(HERE / "requirements.txt", "deploy-python")
    harness.run_quietly([harness.CONFORMANCE / "image" / "build", "gateway", "node"], "images")
    if "GATEWAY_BIN" not in os.environ:
        os.environ["GATEWAY_BIN"] = harness.gateway_binary()


class Bench:
    """The place of one run, and what has come of its checks."""

    def __init__(self, outside):
        self.outside = outside
        self.gateway = harness.gateway_binary()
        self.out = harness.results("deploy", self.gateway)
        self.python = harness.WORK / "deploy-python" / "bin"
        self.fixtures = harness.WORK / "fixtures"
        self.node = harness.node(self.fixtures)
        self.clients = harness.WORK / "clients"
        harness.copy_programs([*HERE.glob("*.mjs"), HERE.parent / "nginx" / "streams.mjs"], self.clients)
        harness.copy_programs([HERE.parent / "oauth" / "server.mjs"], self.clients)
        subprocess.run([program("ip", "iproute2"), "link", "set", "lo", "up"], check=True)
        self.name_here(HOST)
        self.authority = self.make_authority()
        self.checks = []

    def name_here(self, *names):
        """Lets names stand for this machine, as far as this network reaches."""
        hosts = self.out / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n::1 localhost\n")
        subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)

    def make_authority(self):
        """An authority of our own and a certificate of it for HOST; answers the authority's."""
        place = self.out / "certificates"
        place.mkdir()
        openssl = program("openssl", "openssl")

        def make(*arguments):
            subprocess.run([openssl, *map(str, arguments)], check=True, cwd=place, capture_output=True)

        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        make("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", 2,
             "-subj", "/CN=an authority for a test")
        make("req", *curve, "-keyout", "privkey.pem", "-out", "request.pem", "-subj", f"/CN={HOST}")
        (place / "names").write_text(f"subjectAltName=DNS:{HOST},DNS:*.example.com\n")
        make("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key",
             "-CAcreateserial", "-days", 2, "-extfile", "names", "-out", "fullchain.pem")
        return place / "ca.pem"

    def check(self, name, run):
        """Runs one check; what it raises is why it failed."""
        began = time.monotonic()
        try:
            run()
            why = None
        except (AssertionError, Failed, OSError, subprocess.SubprocessError) as failure:
            why = "".join(traceback.format_exception(failure)) if not str(failure) else str(failure)
            output = getattr(failure, "stdout", None) or getattr(failure, "output", None)
            if output:
                why += f"\n{output if isinstance(output, str) else output.decode(errors='replace')}"
        self.checks.append((name, why))
        seconds = time.monotonic() - began
        harness.say(f"{'not ok' if why else 'ok'} {name} ({seconds:.1f} s)" + (f"\n{why}" if why else ""))

    def report(self):
        failed = sum(why is not None for _, why in self.checks)
        harness.say(f"\n{len(self.checks) - failed} of {len(self.checks)}")
        return bool(self.checks) and failed == 0

    @contextlib.contextmanager
    def service(self, name, command, ready, environment=None, within=READY_WITHIN):
        """Runs a server until it is needed no more; `ready` is a port that answers /health, or None."""
        log = self.out / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | (environment or {}),
            )
            try:
                if ready is not None:
                    harness.wait_until_ready(process, ready, log, within)
                yield process
            finally:
                harness.stop(process, log)

    def a_gateway(self, name, *options, address="127.0.0.1", port=8080):
        """A gateway with a server that the checks know, and a token."""
        return self.service(
            name,
            [self.gateway, "--service-name", "notes", "--host", address, "--port", port,
             "--admin", "off", "--audit", self.out / f"{name}.audit", *options, "--", self.node, self.fixtures / "workbench.mjs"],
            None, {TOKEN_VARIABLE: TOKEN},
        )

    def node_checks(self, name, script, config, *arguments, authority=None):
        """Runs a program of checks; each of its lines is one of ours."""
        file = self.out / f"{name}.json"
        file.write_text(json.dumps(config))
        environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(authority or self.authority)}
        done = subprocess.run(
            [self.node, self.clients / script, file, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, env=environment,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "not ok "))]
        if not lines or (done.returncode == 0) != all(line.startswith("ok ") for line in lines):
            lines = [f"not ok {script} as a whole"]
        for line in lines:
            well = line.startswith("ok ")
            self.checks.append((f"{name}: {line}", None if well else done.stdout))
            harness.say(f"{'ok' if well else 'not ok'} {name}: {line.removeprefix('not ').removeprefix('ok ')}")
        if done.returncode != 0:
            harness.say(done.stdout)


def wait_for(condition, what, within=READY_WITHIN):
    """Waits until `condition` gives something true, and gives it back."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise Failed(f"waited {within} s in vain for {what}")
