"""docs/OPERATING.md, command by command, in containers; and what it promises of them, under load."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import bench as benches
import document
import example
import harness
from bench import HOST

HERE = Path(__file__).resolve().parent
OPERATING = harness.ROOT / "docs" / "OPERATING.md"
URL = f"https://{HOST}/mcp"
CONTAINERS = {"notes", "notes-tls", "airtable", "nginx-proxy", "acme-companion"}
# Under this heading the token changes while it is used.
ROTATION = "Rotate a token"


def run(bench):
    bench.name_here(HOST, example.HOST)
    environment = prepare(bench)
    clone = checkout(bench, environment)
    shell = document.Shell(clone, environment)
    rotation = Rotation(bench, clone)
    try:
        for block in document.blocks(OPERATING):
            rotation.before(block)
            bench.check(block.name, lambda block=block: play(shell, block))
            rotation.after(block)
        # Without what the document brings up there is nothing more to see.
        if (clone / "deploy" / "tokens" / "notes").exists():
            deployed(bench, clone, environment)
            example.run(bench, clone, environment)
    finally:
        shell.close()
        rotation.end()
        clear(environment)


def play(shell, block):
    well, output = shell.run(block.commands)
    assert well, output
    block.judge(output)


def prepare(bench):
    """Makes what Docker and nginx-proxy are here; answers the environment that finds it."""
    # Addresses of containers are written down where those of another network would be found; and podman
    # is to see that what ran when this was killed runs no more.
    for place in ("/var/lib/cni", "/run/libpod", "/run/netns"):
        Path(place).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "containers", place], check=True)
    configuration = bench.out / "containers.conf"
    configuration.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "file"\n'
        f'[network]\nnetwork_config_dir = "{bench.out}/networks"\n'
    )
    (bench.out / "networks").mkdir()
    programs = bench.out / "bin"
    programs.mkdir()
    (programs / "docker").symlink_to(HERE / "docker")
    (bench.out / "curlrc").mkdir()
    (bench.out / "curlrc" / ".curlrc").write_text(f'cacert = "{bench.authority}"\n')
    (bench.out / "docker.sock").touch()
    environment = os.environ | {
        "PATH": f"{programs}:{bench.python}:{os.environ['PATH']}",
        "CONTAINERS_STORAGE_CONF": str(harness.WORK / "image" / "storage.conf"),
        "CONTAINERS_CONF": str(configuration),
        "CONFORMANCE_DEPLOY_OUTSIDE": bench.outside,
        "CONFORMANCE_DEPLOY_GENERATE": str(HERE / "nginx-proxy" / "generate"),
        "CONFORMANCE_DEPLOY_IMAGES": str(HERE.parent / "image"),
        # curl believes our authority, and nothing of what this machine's user has set.
        "CURL_HOME": str(bench.out / "curlrc"),
        "CURL_CA_BUNDLE": str(bench.authority),
        "DOCKER_SOCKET": str(bench.out / "docker.sock"),
    }
    clear(environment)
    stand_in(bench, environment)
    return environment


def stand_in(bench, environment):
    """The images of nginx-proxy and its companion."""
    place = bench.out / "nginx-proxy"
    shutil.copytree(HERE / "nginx-proxy", place)
    (place / "certs").mkdir()
    for host in (HOST, example.HOST):
        for suffix, name in {"crt": "fullchain.pem", "key": "privkey.pem"}.items():
            shutil.copy(bench.authority.parent / name, place / "certs" / f"{host}.{suffix}")
    proxy, companion = (
        line.split()[-1] for line in (harness.ROOT / "deploy" / "compose.proxy.yaml").read_text().splitlines()
        if line.strip().startswith("image:")
    )
    tools(environment, "docker", "build", "-t", f"docker.io/{proxy}", place)
    (place / "Dockerfile").write_text(
        f"FROM docker.io/{proxy}\n"
        'CMD ["sh", "-c", "cp /usr/share/certs/* /etc/nginx/certs/ && exec sleep infinity"]\n'
    )
    tools(environment, "docker", "build", "-t", f"docker.io/{companion}", place)


def tools(environment, *command, **options):
    """Runs a command that has to end well; answers what it printed."""
    done = subprocess.run(
        list(map(str, command)), env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def clear(environment):
    """Removes what the document starts, now or in a run before that was killed."""
    names = subprocess.run(
        ["podman", "ps", "--all", "--format", "{{.Names}}"],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout.split()
    # The companion depends on the proxy.
    for name in sorted(CONTAINERS.intersection(names)):
        subprocess.run(
            ["podman", "rm", "--force", "--volumes", "--time", "0", name], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )
    volumes = [f"proxy_{name}" for name in ("certs", "vhost", "html", "acme")]
    subprocess.run(["podman", "volume", "rm", "--force", *volumes], env=environment, stdout=subprocess.DEVNULL)


def checkout(bench, environment):
    """A clone of what is here, changes that are not committed included."""
    origin, clone = bench.out / "origin", bench.out / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=harness.ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source = harness.ROOT / name
        if source.is_file():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, origin / name)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"]
    tools(environment, *git, "init", "--quiet", cwd=origin)
    tools(environment, *git, "add", "--all", cwd=origin)
    tools(environment, *git, "commit", "--quiet", "--message", "as it is", cwd=origin)
    tools(environment, *git, "clone", "--quiet", origin, clone)
    # Equal files are equal to the builder's cache only if they are as old.
    for file in clone.rglob("*"):
        source = origin / file.relative_to(clone)
        if ".git" not in file.parts and source.is_file():
            shutil.copystat(source, file)
    return clone


def tokens(clone):
    """The tokens that are good now, the newest last."""
    lines = (clone / "deploy" / "tokens" / "notes").read_text().splitlines()
    return [line.split(": ")[1] for line in lines]


class Rotation:
    """Callers that go on while the document's commands rotate the token, and change over in between."""

    def __init__(self, bench, clone):
        self.bench = bench
        self.clone = clone
        self.callers = None

    def before(self, block):
        there = self.clone / "deploy" / "tokens" / "notes"
        if block.heading == ROTATION and self.callers is None and there.exists():
            file = self.bench.out / "rotation.json"
            file.write_text(json.dumps({"front": URL, "old": tokens(self.clone)[-1]}))
            self.callers = subprocess.Popen(
                [self.bench.node, self.bench.clients / "rotation.mjs", file], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=os.environ | {"NODE_EXTRA_CA_CERTS": str(self.bench.authority)},
            )
            self.bench.check("callers are there when the token is rotated", self.going)

    def going(self):
        line = self.callers.stdout.readline()
        assert line == "going\n", line + self.callers.communicate()[0]

    def say(self, line):
        self.callers.stdin.write(f"{line}\n")
        self.callers.stdin.flush()

    def after(self, block):
        if self.callers is None or self.callers.poll() is not None:
            return
        if block.heading != ROTATION:
            return
        there = tokens(self.clone)
        if len(there) > 1:
            self.say(there[-1])
        else:
            self.say("stop")
            self.bench.check("no request was refused while the token was rotated", self.well)

    def well(self):
        output, _ = self.callers.communicate(timeout=60)
        assert self.callers.returncode == 0, output
        harness.say(output.strip())

    def end(self):
        if self.callers and self.callers.poll() is None:
            self.callers.kill()
            self.callers.wait()


def deployed(bench, clone, environment):
    """What holds of the containers that the document has brought up."""
    config = {"front": URL, "token": tokens(clone)[-1]}
    inspect = lambda: json.loads(tools(environment, "podman", "inspect", "notes"))[0]
    bench.check("the container can do no more than it has to", lambda: confined(inspect()))
    bench.check("only this machine reaches the gateway past nginx", lambda: published(inspect()))
    bench.check("its health check passes", lambda: tools(environment, "podman", "healthcheck", "run", "notes"))
    bench.node_checks("through-nginx-proxy", "through.mjs", config)
    bench.check("records have the client's address, not the proxy's", lambda: client_address(environment))
    bench.check("http is sent on to https", redirected)
    bench.check("a call in flight is answered when the service is stopped", lambda: drained(bench, config, environment))
    bench.check("the service then ended well", lambda: ended_well(inspect()))


def confined(container):
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"] and not host["Privileged"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped", host["RestartPolicy"]
    # The gateway is below what is the first process.
    first = container["State"]["Pid"]
    numbers = [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    assert len(numbers) > 1, numbers
    for number in numbers:
        fields = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines()
        )
        assert fields["NoNewPrivs"] == "1", fields
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0, fields
        assert fields["Uid"].split() == ["65532"] * 4, fields


def published(container):
    ports = container["HostConfig"]["PortBindings"]
    assert ports == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}, ports


def client_address(environment):
    log = tools(environment, "podman", "logs", "notes")
    lines = [line for line in log.splitlines() if '"authenticated"' in line]
    addresses = {json.loads(line)["ip"] for line in lines}
    proxy = json.loads(tools(environment, "podman", "inspect", "nginx-proxy"))[0]
    (network,) = proxy["NetworkSettings"]["Networks"].values()
    # This machine, as seen from the network of the containers.
    assert addresses == {network["Gateway"]}, (addresses, network["IPAddress"])


def redirected():
    printed = subprocess.run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"http://{HOST}/mcp"],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout
    assert printed == f"301 {URL}", printed


def drained(bench, config, environment):
    file = bench.out / "drain.json"
    file.write_text(json.dumps(config))
    with subprocess.Popen(
        [bench.node, bench.clients / "drain.mjs", file], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(bench.authority)},
    ) as client:
        line = client.stdout.readline()
        assert line == "under way\n", line + client.stdout.read()
        tools(environment, "docker", "stop", "notes")
        output, _ = client.communicate(timeout=60)
        assert client.returncode == 0, output


def ended_well(container):
    assert container["State"]["ExitCode"] == 0, container["State"]
