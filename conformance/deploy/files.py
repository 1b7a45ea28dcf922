"""What can be said of the files in deploy/ without running them."""

import json
import os
import re
import shlex
import subprocess

import bench as benches
from bench import DEPLOY, HOST

MANIFESTS = DEPLOY / "kubernetes"
UNIT = DEPLOY / "systemd" / "mcp-gateway.service"
OPERATING = DEPLOY.parent / "docs" / "OPERATING.md"
# In tenths, as systemd-analyze counts; without any protection it is 96.
EXPOSURE = 15
# What proxies.py acts on, as HAProxy's controller would.
CONTROLLER_ANNOTATIONS = {
    "backend-config-snippet", "forwarded-for", "load-balance", "timeout-server", "timeout-tunnel",
}


def run(bench):
    bench.check("systemd understands the unit", lambda: unit_verified(bench))
    bench.check(f"systemd finds the unit's exposure to be at most {EXPOSURE / 10}", lambda: exposure(bench))
    bench.check("the gateway starts as the unit starts it", lambda: unit_starts(bench))
    for manifest in sorted(MANIFESTS.glob("*.yaml")):
        if manifest.name != "kustomization.yaml":
            bench.check(f"{manifest.name} is as Kubernetes wants it", lambda file=manifest: manifest_valid(bench, file))
    bench.check("the kustomization names every manifest", lambda: kustomization(bench))
    bench.check("the manifests fit each other", lambda: manifests_fit(bench))
    bench.check("the gateway takes the Deployment's environment", lambda: deployment_environment(bench))
    for file in ("compose.yaml", "compose.proxy.yaml", "examples/airtable/compose.override.yaml"):
        bench.check(f"{file} is as Compose wants it", lambda file=file: compose_valid(bench, file))
    bench.check("nginx takes server.conf", lambda: nginx_takes(bench, nginx_configuration(bench)))
    bench.check("nginx takes it for several replicas too", lambda: nginx_takes(bench, nginx_replicas(bench)))
    bench.check("Caddy takes the Caddyfile, and would write it so", lambda: caddy_takes(bench))


def quietly(*command, **options):
    """Runs a command that has to end well; answers all that it printed."""
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def installed_unit(bench):
    """The unit, with the program where it is here."""
    place = bench.out / "systemd"
    place.mkdir(exist_ok=True)
    unit = place / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/mcp-gateway", bench.gateway))
    return unit


def unit_verified(bench):
    # What it does not know it tells, and ends well all the same.
    assert quietly("systemd-analyze", "verify", "--man=no", installed_unit(bench)) == ""


def exposure(bench):
    quietly("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}",
            installed_unit(bench))


def unit_starts(bench):
    """With the configuration that its head shows, and with the tokens where systemd would put them."""
    unit = installed_unit(bench)
    text = unit.read_text()
    example = re.search(r"#     command = .*\n(#     .*\n)*", text).group()
    config = unit.with_name("gateway.toml")
    config.write_text(example.replace("#     ", "").replace("/var/log/mcp-gateway", str(unit.parent)))
    unit.with_name("tokens").write_text("alice: a-token-of-alice\n")
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    command = command.replace("${CREDENTIALS_DIRECTORY}", str(unit.parent))
    command = command.replace("/etc/mcp-gateway/gateway.toml", str(config))
    shown = quietly(*shlex.split(command), "--check-config")
    assert 'service-name = "notes"' in shown, shown


def manifest_valid(bench, file):
    quietly(bench.python / "kubernetes-validate", "--strict", file)


def documents(bench, *names):
    """Manifests as Python has them."""
    convert = "import json, sys, yaml; json.dump([yaml.safe_load(open(name)) for name in sys.argv[1:]], sys.stdout)"
    return json.loads(quietly(bench.python / "python", "-c", convert, *(MANIFESTS / name for name in names)))


def kustomization(bench):
    (document,) = documents(bench, "kustomization.yaml")
    named = {name.replace("secret.yaml", "secret.example.yaml") for name in document["resources"]}
    there = {file.name for file in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert named == there, f"{named} and {there}"
    (image,) = document["images"]
    (deployment,) = documents(bench, "deployment.yaml")
    assert container(deployment)["image"] == image["name"]


def container(deployment):
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def manifests_fit(bench):
    deployment, service, budget, policy, ingress, secret = documents(
        bench, "deployment.yaml", "service.yaml", "poddisruptionbudget.yaml", "networkpolicy.yaml",
        "ingress.yaml", "secret.example.yaml",
    )
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    selectors = [
        deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"], policy["spec"]["podSelector"]["matchLabels"],
        pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector and selector.items() <= labels, selector

    gateway = container(deployment)
    ports = {port["name"] for port in gateway["ports"]}
    probes = [gateway[kind]["httpGet"]["port"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")]
    allowed = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    targets = [port["targetPort"] for port in service["spec"]["ports"]]
    assert {*probes, *allowed, *targets} <= ports, (probes, allowed, targets, ports)

    (rule,) = ingress["spec"]["rules"]
    for path in rule["http"]["paths"]:
        backend = path["backend"]["service"]
        assert backend["name"] == service["metadata"]["name"]
        assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    annotations = ingress["metadata"]["annotations"]
    prefix = "haproxy.org/"
    known = {name.removeprefix(prefix) for name in annotations if name.startswith(prefix)}
    assert known == CONTROLLER_ANNOTATIONS, known

    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in gateway["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["tokens"]["secret"]["secretName"] == secret["metadata"]["name"]
    environment = {variable["name"]: variable["value"] for variable in gateway["env"]}
    given = {f"{mounts['tokens']}/{key}" for key in secret["stringData"]}
    named = {environment[f"MCP_GATEWAY_{option}_FILE"] for option in ("STATIC_TOKEN", "SEAL_KEY")}
    assert named == given, (named, given)
    assert environment["MCP_GATEWAY_PUBLIC_URL"] == f"https://{rule['host']}/mcp" == f"https://{HOST}/mcp"

    # The sleep, the drain, and the end of what is left then.
    seconds = re.fullmatch(r"(\d+)s", environment["MCP_GATEWAY_DRAIN_TIME"])
    needed = gateway["lifecycle"]["preStop"]["sleep"]["seconds"] + int(seconds[1])
    assert needed < pod["spec"]["terminationGracePeriodSeconds"], needed


def deployment_environment(bench):
    deployment, secret = documents(bench, "deployment.yaml", "secret.example.yaml")
    environment = {variable["name"]: variable["value"] for variable in container(deployment)["env"]}
    tokens = bench.out / "secret"
    tokens.write_text(secret["stringData"]["tokens"])
    environment["MCP_GATEWAY_STATIC_TOKEN_FILE"] = str(tokens)
    # The example's key is none, so that the gateway does not start with a key that everyone knows.
    keys = bench.out / "seal-keys"
    keys.write_text("0" * 64)
    environment["MCP_GATEWAY_SEAL_KEY_FILE"] = str(keys)
    quietly(bench.gateway, "--check-config", "--", "true", env=os.environ | environment)


def interpolated(text, variables):
    """A compose file's text with its variables filled in, as Compose does before it looks at anything."""

    def value(match):
        name, default = match["name"], match["default"]
        return variables.get(name) or default or ""

    return re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}", value, text)


def variables_of(example):
    lines = example.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose_valid(bench, file):
    text = (DEPLOY / file).read_text()
    read = "import sys, compose_spec; print(compose_spec.PyCompose.from_yaml(sys.stdin.read()).to_json())"
    for example in (DEPLOY / ".env.example", DEPLOY / "examples" / "airtable" / ".env.example"):
        variables = variables_of(example) | {"AIRTABLE_API_TOKEN": "pat"}
        quietly(bench.python / "python", "-c", read, input=interpolated(text, variables))


def nginx_configuration(bench, name="nginx", upstream=None):
    """A configuration around server.conf, with what that names where it is here, and `upstream` if there is one."""
    place = bench.out / name
    place.mkdir(exist_ok=True)
    # nginx's workers are nobody in particular.
    bench.out.chmod(0o755)
    text = (DEPLOY / "nginx" / "server.conf").read_text()
    text = text.replace("/etc/nginx/mcp-gateway.conf", str(DEPLOY / "nginx" / "mcp-gateway.conf"))
    text = text.replace(f"/etc/ssl/{HOST}", str(bench.authority.parent))
    if upstream is not None:
        text, replaced = re.subn(r"^upstream .*?^}\n", lambda _: upstream, text, flags=re.M | re.S)
        assert replaced == 1
    (place / "server.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    paths = "\n".join(f"    {kind}_temp_path {place}/{kind};" for kind in kinds)
    main = place / "nginx.conf"
    main.write_text(
        f"pid {place}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\n    access_log {place}/access.log;\n{paths}\n    include {place}/server.conf;\n}}\n"
    )
    return main


def nginx_replicas(bench):
    """The same with the upstream that OPERATING.md has for several replicas."""
    (upstream,) = re.findall(r"^```nginx\n(upstream .*?)^```\n", OPERATING.read_text(), re.M | re.S)
    return nginx_configuration(bench, "nginx-replicas", upstream)


def nginx_takes(bench, configuration):
    quietly(benches.program("nginx", "nginx-light"), "-t", "-q", "-e", "stderr", "-c", configuration)


def caddy_takes(bench):
    caddy = benches.program("caddy", "caddy")
    file = DEPLOY / "caddy" / "Caddyfile"
    quietly(caddy, "validate", "--adapter", "caddyfile", "--config", file, env=caddy_home(bench))
    # The first line of each, where they differ, is marked.
    difference = quietly(caddy, "fmt", "--diff", file)
    assert not re.search(r"^[-+]", difference, re.M), difference


def caddy_home(bench):
    return os.environ | {"XDG_DATA_HOME": str(bench.out / "caddy"), "XDG_CONFIG_HOME": str(bench.out / "caddy")}
