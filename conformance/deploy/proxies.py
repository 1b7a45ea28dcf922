"""Sessions through nginx, Caddy and HAProxy, each configured as deploy/ says."""

import json
import urllib.error
import urllib.request

import bench as benches
import files
from bench import DEPLOY, HOST, TOKEN

URL = f"https://{HOST}/mcp"
BEHIND = ["--public-url", URL, "--trusted-proxies", "127.0.0.1"]
# As pods of one Service: the same port, and an address each.
PODS = ["127.0.0.11", "127.0.0.12"]
CLIENT = "127.0.0.9"
INGRESS = ("127.0.0.1", 8081)


def run(bench):
    nginx(bench)
    caddy(bench)
    haproxy(bench)


def healthy(address, port=8080):
    """What the gateway's health tells, or None while there is none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}:{port}/health", timeout=2) as response:
            return json.load(response)
    except (urllib.error.URLError, OSError):
        return None


def nginx(bench):
    command = [benches.program("nginx", "nginx-light"), "-e", "stderr", "-g", "daemon off;"]
    with (
        bench.a_gateway("behind-nginx", *BEHIND),
        bench.service("nginx", [*command, "-c", files.nginx_configuration(bench)], None),
    ):
        session(bench, "nginx", bench.authority)


def caddy(bench):
    """With an authority of its own instead of a public one, which cannot be asked here."""
    own = "{\n\tlocal_certs\n\tskip_install_trust\n\tadmin off\n}\n\n"
    place = bench.out / "caddy"
    place.mkdir(exist_ok=True)
    file = place / "Caddyfile"
    file.write_text(own + (DEPLOY / "caddy" / "Caddyfile").read_text())
    command = [benches.program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", file]
    with (
        bench.a_gateway("behind-caddy", *BEHIND),
        bench.service("caddy", command, None, files.caddy_home(bench)),
    ):
        authority = place / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        benches.wait_for(authority.exists, "Caddy's authority")
        session(bench, "caddy", authority)


def session(bench, name, authority):
    benches.wait_for(lambda: healthy("127.0.0.1"), "the gateway")
    bench.node_checks(f"through-{name}", "streams.mjs", {"front": URL, "token": TOKEN}, authority=authority)
    bench.check(f"through-{name}: the audit trail has the client's address", lambda: client_address(bench, name, authority))


def client_address(bench, name, authority):
    """Of a client with another address than the proxy's, who shows a token that is not good."""
    files.quietly(
        "curl", "-sS", "-o", "/dev/null", "--interface", CLIENT, "--cacert", authority, URL,
        "-H", "Content-Type: application/json", "-H", "Authorization: Bearer bad", "-d", "{}",
    )

    def refused():
        lines = (bench.out / f"behind-{name}.audit").read_text().splitlines()
        records = map(json.loads, lines)
        return [record["ip"] for record in records if record.get("reason") == "invalid-token"]

    addresses = benches.wait_for(refused, "a record of it")
    assert addresses == [CLIENT], addresses


def haproxy(bench):
    pods = [bench.a_gateway(f"pod-{address}", *BEHIND, address=address) for address in PODS]
    config = {"front": f"http://{INGRESS[0]}:{INGRESS[1]}/mcp", "token": TOKEN, "host": HOST}
    with pods[0], pods[1]:
        for address in PODS:
            benches.wait_for(lambda address=address: healthy(address), "a pod")
        with ingress(bench, "haproxy", annotations(bench)):
            bench.node_checks("affinity", "affinity.mjs", config | {"sticky": True})
            bench.check("affinity: both pods have sessions", both_serve)
        # What the check is worth: without what the annotation says, sessions are lost.
        without = annotations(bench) | {"backend-config-snippet": "", "load-balance": "roundrobin"}
        with ingress(bench, "haproxy-without", without):
            bench.node_checks("no-affinity", "affinity.mjs", config | {"sticky": False})


def both_serve():
    sessions = [healthy(address)["sessions"] for address in PODS]
    assert all(sessions), sessions


def annotations(bench):
    (ingress_manifest,) = files.documents(bench, "ingress.yaml")
    prefix = "haproxy.org/"
    every = ingress_manifest["metadata"]["annotations"]
    return {name.removeprefix(prefix): value for name, value in every.items() if name.startswith(prefix)}


def ingress(bench, name, said):
    """HAProxy, configured as its controller does for an Ingress with these annotations."""
    snippet = "\n".join(f"    {line}" for line in said["backend-config-snippet"].splitlines())
    servers = "\n".join(
        f"    server SRV_{number} {address}:8080 check" for number, address in enumerate(PODS, 1)
    )
    file = bench.out / f"{name}.cfg"
    file.write_text(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server {said["timeout-server"]}
    timeout tunnel {said["timeout-tunnel"]}
    option redispatch
frontend http
    bind {INGRESS[0]}:{INGRESS[1]}
    default_backend mcp-gateway
backend mcp-gateway
    balance {said["load-balance"]}
    option forwardfor
{snippet}
{servers}
""")
    binary = benches.program("haproxy", "haproxy")
    bench.check(f"HAProxy takes {file.name}", lambda: files.quietly(binary, "-c", "-q", "-f", file))
    return bench.service(name, [binary, "-db", "-f", file], None)
