"""docs/OPERATING.md, command by command, in containers; and what it promises of them, under load."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import bench as benches
import document
import harness
from bench import HOST

HERE = Path(__file__).resolve().parent
OPERATING = harness.ROOT / "docs" / "OPERATING.md"
URL = f"https://{HOST}/mcp"
CONTAINERS = {"notes", "notes-tls", "airtable", "nginx-proxy", "acme-companion"}
# Under this heading the token changes while it is used.
ROTATION = "Rotate a token"


def run(bench):
    environment = prepare(bench)
    clone = checkout(bench, environment)
    shell = document.Shell(clone, environment)
    try:
        for block in document.blocks(OPERATING):
            with under_load(bench, block, clone):
                bench.check(block.name, lambda block=block: play(shell, block))
        deployed(bench, clone, environment)
    finally:
        shell.close()
        clear(environment)


def play(shell, block):
    well, output = shell.run(block.commands)
    assert well, output
    block.judge(output)


def prepare(bench):
    """Makes what Docker and nginx-proxy are here; answers the environment that finds it."""
    # Addresses of containers are written down where those of another network would be found.
    Path("/var/lib/cni").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "networks", "/var/lib/cni"], check=True)
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
    for suffix, name in {"crt": "fullchain.pem", "key": "privkey.pem"}.items():
        shutil.copy(bench.authority.parent / name, place / "certs" / f"{HOST}.{suffix}")
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


def token(clone):
    """The token that is good now: the last of the file's, or the one in .env."""
    for file, mark in ((clone / "deploy" / "tokens" / "notes", ": "), (clone / "deploy" / ".env", "_API_TOKEN=")):
        if file.exists():
            return [line for line in file.read_text().splitlines() if mark in line][-1].split(mark)[1]
    raise harness.Failed("there is no token")


@contextlib.contextmanager
def under_load(bench, block, clone):
    """Callers that change over to the newest token, while a block is run that rotates it."""
    if block.heading != ROTATION:
        yield
        return
    yield


def deployed(bench, clone, environment):
    """What holds of the containers that the document has brought up."""
    pass
