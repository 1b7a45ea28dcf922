"""Images and containers, by podman, and checks of them."""

import contextlib
import json
import os
import subprocess
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

import harness
from harness import Failed

READY_WITHIN = 60
# A bound against waiting for ever; nothing is measured by it.
PATIENCE = 60

# A container's limits would else be those of whoever runs this, raised; not every machine allows that.
ULIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
# As deploy/compose.yaml has it; podman's own writable folders are off.
HARDENED = [
    "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt", "no-new-privileges",
]
GATEWAY = "localhost/mcp-gateway"
NODE = "localhost/mcp-gateway-node"
PYTHON = "localhost/mcp-gateway-python"
TOKEN = "a-token-that-the-operator-gave-out"
PREFIX = "mcp-gateway-test"


def eventually(what, condition):
    """Waits until `condition` gives something, and gives that back."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"not in time: {what}")
        time.sleep(0.05)
    return value


class Bench:
    """What every part of the test needs."""

    def __init__(self, here):
        self.here = here
        self.place = harness.WORK / "image"
        self.storage = self.place / "storage.conf"
        self.environment = os.environ | {"CONTAINERS_STORAGE_CONF": str(self.storage)}
        self.out = harness.results("image", "images")
        fixtures = harness.install_npm(here.parent / "fixtures", "fixtures")
        self.clients = harness.install_npm(here.parent / "clients", "clients")
        harness.copy_programs(here.glob("*.mjs"), self.clients)
        self.node = harness.node(fixtures)
        self.build("gateway", "node", "python")
        self.remove_containers()

    def build(self, *names):
        done = subprocess.run([self.here / "build", *names], text=True)
        if done.returncode != 0:
            raise Failed("the images cannot be built")

    def run(self, checks):
        """Runs the checks, which come as names and functions; answers as servers.run_checks does."""
        passed, lines = 0, []
        for name, check in checks(self):
            try:
                check()
                passed += 1
                harness.say(f"ok {name}")
            # Whatever it is, the other checks go on.
            except Exception as error:
                why = str(error) if isinstance(error, Failed) else traceback.format_exc()
                lines.append(f"not ok {name}: {why}")
                harness.say(lines[-1])
        return passed, len(lines), lines

    def podman(self, *words, check=True, **options):
        options = {"capture_output": True, "text": True, "timeout": PATIENCE * 5} | options
        done = subprocess.run(
            ["podman", "--runtime", "runc", *map(str, words)], env=self.environment, **options
        )
        if check and done.returncode != 0:
            raise Failed(f"podman {words[0]} failed ({done.returncode}): {done.stdout}{done.stderr}")
        return done

    def image(self, name):
        return json.loads(self.podman("image", "inspect", name).stdout)[0]

    def remove_containers(self):
        """What this test, or one before that was killed, has left."""
        listed = self.podman("ps", "--all", "--quiet", "--filter", f"name=^{PREFIX}").stdout.split()
        if listed:
            self.podman("rm", "--force", "--volumes", "--time", "0", *listed)

    @contextlib.contextmanager
    def container(self, name, image, *command, options=(), ready=True):
        """Runs a hardened container, and removes it at the end; its log stays."""
        container = Container(self, f"{PREFIX}-{name}", harness.free_port())
        publish = ["--publish", f"127.0.0.1:{container.port}:8080"]
        self.podman(
            "run", "--detach", "--name", container.name, *HARDENED, *ULIMITS, *publish, *options, image,
            *command,
        )
        try:
            if ready:
                container.wait_until_ready()
            yield container
        finally:
            (self.out / f"{name}.log").write_text(container.logs())
            self.podman("rm", "--force", "--volumes", "--time", "0", container.name)

    def mjs(self, program, *words):
        """Runs a program of checks with node; fails with what it printed."""
        done = subprocess.run(
            [self.node, self.clients / program, *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )
        passed = sum(line.startswith("ok ") for line in done.stdout.splitlines())
        if done.returncode != 0 or passed == 0:
            raise Failed(done.stdout)


class Container:
    def __init__(self, bench, name, port):
        self.bench = bench
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}/mcp"

    def inspect(self):
        return json.loads(self.bench.podman("container", "inspect", self.name).stdout)[0]

    def logs(self):
        done = self.bench.podman("logs", self.name, check=False)
        return done.stdout + done.stderr

    def wait_until_ready(self):
        def ready():
            if not self.inspect()["State"]["Running"]:
                raise Failed(f"the container has ended:\n{self.logs()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as response:
                    return response.status == 200
            except (urllib.error.URLError, OSError):
                return False
        eventually(f"the gateway serves:\n{self.logs()}", ready)

    def main_process(self):
        """The number, on this machine, of the container's PID 1."""
        return self.inspect()["State"]["Pid"]

    def namespace(self):
        return os.readlink(f"/proc/{self.main_process()}/ns/pid")

    def processes(self):
        """All processes in the container, zombies too, by their number in it."""
        return processes_of(self.namespace())

    def gateway(self):
        """The gateway below the init."""
        [gateway] = [it for it in self.processes().values() if it.parent == self.main_process()]
        return gateway

    def exit_code(self):
        """Waits for the end."""
        return int(self.bench.podman("wait", self.name).stdout)

    def exec(self, *words):
        return self.bench.podman("exec", self.name, *words, check=False)

    def post(self, message, session=None, timeout=PATIENCE, token=TOKEN):
        """Posts a JSON-RPC message; the status, the session, and the body as text."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {token}",
        }
        if session:
            headers["Mcp-Session-Id"] = session
        request = urllib.request.Request(self.url, json.dumps(message).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, response.headers.get("Mcp-Session-Id"), response.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, None, refused.read().decode()

    def initialize(self):
        params = {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        status, session, body = self.post(message)
        assert status == 200 and session, (status, body)
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
        return session

    def call(self, session, name, **arguments):
        params = {"name": name, "arguments": arguments}
        return self.post({"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": params}, session)


class Process:
    """A process as /proc tells of it; `number` is that of this machine."""

    def __init__(self, number):
        self.number = number
        fields = Path(f"/proc/{number}/status").read_text().splitlines()
        self.status = {name: value.strip() for name, _, value in (line.partition(":") for line in fields)}
        self.parent = int(self.status["PPid"])
        self.inside = int(self.status["NSpid"].split()[-1])
        self.is_zombie = self.status["State"].startswith("Z")
        self.command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")[:-1]

    def __repr__(self):
        return f"{self.inside} {self.status['Name']} ({self.status['State']})"


def processes_of(namespace):
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It may end while one looks.
            with contextlib.suppress(OSError, KeyError):
                if os.readlink(entry / "ns/pid") == namespace:
                    process = Process(int(entry.name))
                    found[process.inside] = process
    return found
