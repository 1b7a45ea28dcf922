"""Drives a server through the gateway with the official Python client.

    python python_client.py URL SERVER MODE [DIRECTORY]

SERVER names the server behind the URL: its checks are those of the name before the dash. MODE is
that of the client: `legacy` sends `initialize`, `auto` asks for revision 2026-07-28 first, `modern`
takes nothing else. Through the gateway, a client that asks first finds every server to be one of
that revision. DIRECTORY is where the filesystem server may write.
"""

import hashlib
import json
import re
import sys
import tempfile
import traceback
import warnings
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPDeprecationWarning

URL, SERVER, MODE = sys.argv[1:4]
FAMILY = SERVER.partition("-")[0]
DIRECTORY = Path(sys.argv[4] if len(sys.argv) > 4 else "/")
IS_MODERN = MODE != "legacy"
REVISION = "2026-07-28" if IS_MODERN else "2025-11-25"
# All clients share one server, unless each has a process of its own, of which a few say it all.
CROWD = 64 if IS_MODERN or SERVER == "workbench-modern" else 8
MIB = 1024 * 1024
LIMIT = 30
# So many clients take their time on a busy machine.
CROWD_LIMIT = 60

# Much of what is tested here is deprecated in the revision after the ones that are served.
warnings.simplefilter("ignore", MCPDeprecationWarning)

checks = []


def check(family, name, only=True, limit=LIMIT):
    """Registers a check for the servers of one family, or for all of them with None."""

    def register(run):
        if family in (None, FAMILY) and only:
            checks.append((name, run, limit))
        return run

    return register


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"{str(actual)[:500]!r} is not {str(expected)[:500]!r}")


def matches(pattern, text):
    if not re.search(pattern, text):
        raise AssertionError(f"{pattern!r} is not in {text[:500]!r}")


async def until(condition, what, limit=10):
    with anyio.move_on_after(limit):
        while not await condition():
            await anyio.sleep(0.02)
        return
    raise AssertionError(f"waited {limit} s in vain for {what}")


class Connection:
    """A connected client that can do everything, answers every request and keeps what it hears."""

    def __init__(self, who):
        self.who = who
        self.meta = None
        self.exchanges = []  # (request, response) of every POST, in order
        self.sampling, self.elicitation, self.logs, self.updates, self.changes = [], [], [], [], []

    async def on_sampling(self, context, params):
        self.sampling.append(params)
        return types.CreateMessageResult(
            role="assistant",
            model="a-model",
            content=types.TextContent(type="text", text="said by the model"),
        )

    async def on_elicitation(self, context, params):
        self.elicitation.append(params)
        names = params.requested_schema.get("required") or []
        return types.ElicitResult(action="accept", content={name: f"{self.who} {name}" for name in names})

    async def on_list_roots(self, context):
        return types.ListRootsResult(
            roots=[types.Root(uri=DIRECTORY.resolve().as_uri(), name="the root")]
        )

    async def on_log(self, params):
        self.logs.append(params)

    async def on_message(self, message):
        if isinstance(message, types.ResourceUpdatedNotification):
            self.updates.append(str(message.params.uri))
        elif isinstance(message, types.ToolListChangedNotification):
            self.changes.append("tools")
        elif isinstance(message, types.PromptListChangedNotification):
            self.changes.append("prompts")

    async def log(self, level):
        """Has the calls that follow log from this level on."""
        if IS_MODERN:
            self.meta = {"io.modelcontextprotocol/logLevel": level}
        else:
            await self.client.set_logging_level(level)

    @asynccontextmanager
    async def watching(self, uri=None):
        """Hears of changes of a resource meanwhile, or of the lists without one."""
        if IS_MODERN:
            lists = {"tools_list_changed": True, "prompts_list_changed": True}
            async with self.client.listen(**({"resource_subscriptions": [uri]} if uri else lists)):
                yield
        elif uri:
            await self.client.subscribe_resource(uri)
            yield
            await self.client.unsubscribe_resource(uri)
        else:
            yield

    async def on_response(self, response):
        if response.request.method == "POST":
            if response.status_code >= 400:
                await response.aread()
            self.exchanges.append((json.loads(response.request.content), response))

    async def call(self, name, arguments=None, progress=None):
        return await self.client.call_tool(
            name, arguments or {}, progress_callback=progress, meta=self.meta
        )

    async def text(self, name, arguments=None, progress=None):
        result = await self.call(name, arguments, progress)
        if result.is_error:
            raise AssertionError(f"{name} failed: {str(result)[:500]}")
        return "\n".join(part.text for part in result.content)


@asynccontextmanager
async def connect(who="the"):
    """A connection whose user answers a question for a `reply` with `<who> reply`."""
    connection = Connection(who)
    async with create_mcp_http_client() as http:
        http.event_hooks["response"].append(connection.on_response)
        async with Client(
            streamable_http_client(URL, http_client=http),
            mode=REVISION if MODE == "modern" else MODE,
            sampling_callback=connection.on_sampling,
            elicitation_callback=connection.on_elicitation,
            list_roots_callback=connection.on_list_roots,
            logging_callback=connection.on_log,
            message_handler=connection.on_message,
            client_info=types.Implementation(name=f"python-{MODE}", version="1.0.0"),
        ) as connection.client:
            yield connection


async def whole_list(method, key):
    """Every page of a list, and how many pages it took."""
    items, cursor, pages = [], None, 0
    while True:
        page = await method(cursor=cursor)
        pages += 1
        items += getattr(page, key)
        cursor = page.next_cursor
        if cursor is None:
            return items, pages


async def names(method, key):
    return [item.name for item in (await whole_list(method, key))[0]]


def includes(actual, *expected):
    for name in expected:
        if name not in actual:
            raise AssertionError(f"{name} is not in {actual}")


class Progress:
    """A progress callback that keeps what it is told."""

    def __init__(self):
        self.seen = []

    async def __call__(self, progress, total, message):
        self.seen.append((progress, total, message))

    def is_complete(self, steps, message=None):
        equal(self.seen, [(step, steps, message) for step in range(1, steps + 1)])


async def counted(connection, label, steps, pause_ms):
    """Counts, and checks that the progress and the answer are those of this call."""
    progress = Progress()
    arguments = {"label": label, "steps": steps, "pause_ms": pause_ms}
    equal(await connection.text("count", arguments, progress), label)
    progress.is_complete(steps, label)


# ---- What holds for every server ----


@check(None, f"a session of {REVISION} opens and ends", only=not IS_MODERN)
async def session():
    async with connect() as connection:
        equal(connection.client.protocol_version, REVISION)
        await connection.client.send_ping()
        _, response = connection.exchanges[-1]
        headers = {
            name: response.request.headers[name]
            for name in ("accept", "mcp-session-id", "mcp-protocol-version")
        }
    async with create_mcp_http_client() as http:
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        equal((await http.post(URL, json=ping, headers=headers)).status_code, 404)


@check(None, f"requests of {REVISION} need no session", only=IS_MODERN)
async def no_session():
    async with connect() as connection:
        equal(connection.client.protocol_version, REVISION)
        await connection.client.list_tools()
        asked_first = ["server/discover"] if MODE == "auto" else []
        methods = [message["method"] for message, _ in connection.exchanges]
        equal(methods, [*asked_first, "tools/list"])
        for _, response in connection.exchanges:
            equal(response.status_code, 200)
            equal(response.request.headers["mcp-protocol-version"], REVISION)
            equal("mcp-session-id" in response.headers, False)


# ---- workbench ----


@check("workbench", "lists come whole, in pages")
async def paging():
    async with connect() as connection:
        client = connection.client
        for method, key in (
            (client.list_tools, "tools"),
            (client.list_resources, "resources"),
            (client.list_resource_templates, "resource_templates"),
            (client.list_prompts, "prompts"),
        ):
            items, pages = await whole_list(method, key)
            equal(len({item.name for item in items}), 25)
            equal(pages, 3)


@check("workbench", "prompts and resources are read")
async def reading():
    async with connect() as connection:
        prompt = await connection.client.get_prompt("prompt_3")
        equal(prompt.messages[0].content.text, "the text of prompt_3")
        read = await connection.client.read_resource("bench://numbered/4")
        equal(read.contents[0].text, "the text of bench://numbered/4")


@check("workbench", "an error of the server arrives as one")
async def server_error():
    async with connect() as connection:
        try:
            await connection.call("no such tool")
        except MCPError as error:
            equal(error.code, -32602)
            matches("Unknown tool: no such tool", str(error))
        else:
            raise AssertionError("there was no error")
        equal(await connection.text("repeat", {"text": "ab", "times": 2}), "abab")


@check("workbench", "progress arrives before the answer, in order")
async def progress():
    async with connect() as connection:
        await counted(connection, "one", 10, 20)


@check("workbench", "two clients with equal ids and tokens get their own answers")
async def two_clients():
    async with connect() as first, connect() as second:
        async with anyio.create_task_group() as tasks:
            for client, connection in enumerate((first, second)):
                for number in range(5):
                    label = f"client {client}, call {number}"
                    tasks.start_soon(counted, connection, label, 8, 25)
        calls = [
            sorted(
                (message["id"], message["params"]["_meta"]["progressToken"])
                for message, _ in connection.exchanges
                if message.get("method") == "tools/call"
            )
            for connection in (first, second)
        ]
        equal(len(calls[0]), 5)
        equal(calls[0], calls[1])


@check("workbench", "a cancelled call is cancelled in the server, and the client goes on")
async def cancellation():
    # More than once, because this client fails if the answer to the cancelled call, for which
    # nobody waits any more, comes while it is ending the session.
    for _ in range(4):
        async with connect() as connection:
            # The process that had the call may not be the one that has the next.
            with tempfile.TemporaryDirectory() as place:
                file = Path(place) / "label"
                arguments = {"label": "to be cancelled", "seconds": 50, "file": str(file)}
                with anyio.move_on_after(0.3) as scope:
                    await connection.call("wait", arguments)
                equal(scope.cancelled_caught, True)

                async def seen():
                    return file.exists()

                await until(seen, "the server to see the cancellation")
            equal(await connection.text("wait", {"label": "next", "seconds": 0.1}), "next")


@check("workbench", "the server asks the user and lists the roots")
async def server_requests():
    async with connect() as connection:
        asked = await connection.text("ask", {"question": "How so?", "after_ms": 100})
        equal(asked, "accept: the reply")
        equal(connection.elicitation[0].message, "How so?")
        matches('"the root"', await connection.text("roots"))


@check("workbench", "the server asks the user before a resource is read")
async def asked_before_reading():
    async with connect("Ada, in") as connection:
        read = await connection.client.read_resource("bench://asking")
        equal(read.contents[0].text, "read by Ada, in reply")


@check("workbench", "a user is asked in several rounds")
async def interviews():
    async with connect("one") as first, connect("two") as second:

        async def interview(connection):
            said = json.loads(await connection.text("interview", {"about": connection.who}))
            turns = ["first", "second", "third"]
            equal(said, [f"{connection.who} {turn}" for turn in turns])
            asked = [params.message for params in connection.elicitation]
            equal(asked, [f"The {turn} about {connection.who}?" for turn in turns])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(interview, first)
            tasks.start_soon(interview, second)


async def crowd(size, asks):
    """Has that many clients call at once, with equal ids. With `asks`, users are asked too."""
    crossed, ids = [], []
    everyone_is_there, there = anyio.Event(), []

    def mine(label, got, expected):
        if got != expected:
            crossed.append((label, got))

    async def one(number):
        label = f"client {number}"
        async with connect(f"{label}:") as connection:
            # All of them are connected before the first one calls, and until the last one has called.
            there.append(number)
            if len(there) == size:
                everyone_is_there.set()
            await everyone_is_there.wait()

            async def repeat():
                said = await connection.text("repeat", {"text": f"{label}. ", "times": 3})
                mine(label, said, f"{label}. " * 3)

            async def count():
                progress = Progress()
                arguments = {"label": label, "steps": 4, "pause_ms": 20}
                mine(label, await connection.text("count", arguments, progress), label)
                mine(label, progress.seen, [(step, 4, label) for step in (1, 2, 3, 4)])

            async def ask():
                said = await connection.text("ask", {"question": label, "after_ms": 20})
                mine(label, said, f"accept: {label}: reply")
                mine(label, [params.message for params in connection.elicitation], [label])

            async with anyio.create_task_group() as tasks:
                for call in (repeat, count, ask) if asks else (repeat, count):
                    tasks.start_soon(call)
            # These go out before anything is answered; what follows depends on the answers.
            calls = sorted(
                message["id"]
                for message, _ in connection.exchanges
                if message.get("method") == "tools/call"
            )
            ids.append(calls[: 3 if asks else 2])

    async with anyio.create_task_group() as tasks:
        for number in range(size):
            tasks.start_soon(one, number)
    equal(crossed, [])
    for others in ids:
        equal(others, ids[0])


@check(
    "workbench", f"{CROWD} clients at once with equal ids get what is theirs", limit=CROWD_LIMIT
)
async def crowd_of_the_workbench():
    await crowd(CROWD, asks=True)


# It says nothing of whose call makes it ask, so that it may not.
@check("shared", "64 clients at once with equal ids get what is theirs", limit=CROWD_LIMIT)
async def crowd_of_one_server():
    await crowd(64, asks=False)


@check("workbench", "a client hears that lists have changed")
async def lists_changed():
    async with connect() as connection, connection.watching():
        await connection.call("change_lists")

        async def heard():
            return len(connection.changes) >= 2

        await until(heard, "both changes")
        equal(sorted(connection.changes), ["prompts", "tools"])


@check("workbench", "a subscriber hears of changes, in a call and between calls")
async def subscription():
    uri = "bench://changing"
    async with connect() as connection:

        async def updates(number):
            await until(lambda: has(number), f"update {number}")

        async def has(number):
            return len(connection.updates) == number

        async with connection.watching(uri):
            await connection.call("change", {"text": "in a call", "after_ms": 0})
            await updates(1)
            await connection.call("change", {"text": "between calls", "after_ms": 200})
            await updates(2)
            equal(connection.updates, [uri, uri])
            read = await connection.client.read_resource(uri)
            equal(read.contents[0].text, "between calls")
        await connection.call("change", {"text": "unheard", "after_ms": 0})
        await anyio.sleep(0.2)
        equal(len(connection.updates), 2)


@check("workbench", "an answer of 5 MiB arrives whole")
async def large_answer():
    async with connect() as connection:
        arguments = {"text": "0123456789abcdef", "times": 5 * MIB // 16}
        answer = await connection.text("repeat", arguments)
        equal(answer, "0123456789abcdef" * (5 * MIB // 16))


@check("workbench", "a request of 3 MiB arrives whole")
async def large_request():
    async with connect() as connection:
        text = "fedcba9876543210" * (3 * MIB // 16)
        measured = json.loads(await connection.text("measure", {"text": text}))
        digest = hashlib.sha256(text.encode()).hexdigest()
        equal(measured, {"length": len(text), "sha256": digest})


# ---- The workbench behind a gateway that closes the stream of a long call ----


@check("polling", "a call survives its stream being closed")
async def polled_call():
    async with connect() as connection:
        await counted(connection, "polled", 15, 200)


@check("polling", "a call with nothing to say survives too")
async def polled_silence():
    async with connect() as connection:
        equal(await connection.text("wait", {"label": "silent", "seconds": 2.5}), "silent")


@check("polling", "a question asked while the stream is closed arrives")
async def polled_question():
    async with connect() as connection:
        asked = await connection.text("ask", {"question": "Still there?", "after_ms": 700})
        equal(asked, "accept: the reply")


@check("polling", "polled calls at once get their own answers")
async def polled_calls():
    async with connect() as connection, anyio.create_task_group() as tasks:
        for number in (1, 2, 3):
            tasks.start_soon(counted, connection, f"call {number}", 6, 150 * number)


# ---- fixture ----


@check("fixture", "contents of every type arrive")
async def contents():
    async with connect() as connection:
        mixed = await connection.call("test_multiple_content_types")
        equal([part.type for part in mixed.content], ["text", "image", "resource"])
        failed = await connection.call("test_error_handling")
        equal(failed.is_error, True)


@check("fixture", "log messages arrive, from the level that was set")
async def logging():
    async with connect() as connection:
        await connection.log("debug")
        await connection.call("test_tool_with_logging")

        async def all_three():
            return len(connection.logs) == 3

        await until(all_three, "three log messages")
        equal(
            [log.data for log in connection.logs],
            ["Tool execution started", "Tool processing data", "Tool execution completed"],
        )


@check("fixture", "the model and the user are asked")
async def asking():
    async with connect() as connection:
        sampled = await connection.text("test_sampling", {"prompt": "What now?"})
        equal(sampled, "LLM response: said by the model")
        equal(connection.sampling[0].messages[0].content.text, "What now?")
        asked = await connection.text("test_elicitation", {"message": "Who are you?"})
        content = asked.removeprefix("User response: action=accept, content=")
        equal(json.loads(content), {"username": "the username", "email": "the email"})


@check("fixture", "completion")
async def completion():
    async with connect() as connection:
        completed = await connection.client.complete(
            types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments"),
            {"name": "arg1", "value": "par"},
        )
        equal(completed.completion.values, ["paris", "park", "party"])


@check("fixture", "parameters that are mirrored into headers arrive")
async def mirrored():
    async with connect() as connection:
        # The client learns from the list which parameters these are.
        await connection.client.list_tools()
        arguments = {"region": " Z\u00fcrich \u2603", "count": 42, "nested": {"urgent": True}}
        equal(json.loads(await connection.text("test_header_parameters", arguments)), arguments)
        _, response = connection.exchanges[-1]
        equal("mcp-param-region" in response.request.headers, IS_MODERN)


@check("fixture", "a prompt and several at once are asked for")
async def several():
    async with connect() as connection:
        prompt = await connection.client.get_prompt("test_input_required_result_prompt")
        matches("the context", prompt.messages[0].content.text)
        await connection.text("test_input_required_result_multiple_inputs")
        equal((len(connection.sampling), len(connection.elicitation)), (1, 2))


# ---- everything ----


@check("everything", "lists")
async def everything_lists():
    async with connect() as connection:
        client = connection.client
        includes(await names(client.list_tools, "tools"), "echo", "get-sum")
        includes(await names(client.list_prompts, "prompts"), "args-prompt")
        templates, _ = await whole_list(client.list_resource_templates, "resource_templates")
        includes(
            [template.uri_template for template in templates],
            "demo://resource/dynamic/text/{resourceId}",
        )


@check("everything", "calls, prompts, resources")
async def everything_calls():
    async with connect() as connection:
        equal(await connection.text("echo", {"message": "h\u00e9llo"}), "Echo: h\u00e9llo")
        matches("42", await connection.text("get-sum", {"a": 2, "b": 40}))
        prompt = await connection.client.get_prompt("args-prompt", {"city": "Bern"})
        matches("Bern", prompt.messages[0].content.text)
        read = await connection.client.read_resource("demo://resource/dynamic/text/7")
        matches("Resource 7", read.contents[0].text)


@check("everything", "progress")
async def everything_progress():
    async with connect() as connection:
        progress = Progress()
        arguments = {"duration": 1, "steps": 5}
        await connection.text("trigger-long-running-operation", arguments, progress)
        progress.is_complete(5)


@check("everything", "sampling, elicitation, roots")
async def everything_requests():
    async with connect() as connection:

        async def registered():
            return "trigger-elicitation-request" in await names(connection.client.list_tools, "tools")

        # These tools appear only once the server has seen what the client can do.
        await until(registered, "the tools that need a capable client")
        sampled = await connection.text("trigger-sampling-request", {"prompt": "Well?"})
        matches("said by the model", sampled)
        matches("the name", await connection.text("trigger-elicitation-request"))
        equal(len(connection.elicitation), 1)
        # It asks for them outside of any call, which a client of the modern era cannot be asked in.
        if not IS_MODERN:
            matches("the root", await connection.text("get-roots-list"))


# It logs between calls, which a client of the modern era has no stream for.
@check("everything", "logging", only=not IS_MODERN)
async def everything_logging():
    async with connect() as connection:
        await connection.log("debug")
        await connection.call("toggle-simulated-logging")

        async def heard():
            return any(re.search("(?i)level.message", str(log.data)) for log in connection.logs)

        await until(heard, "a message")


@check("everything", "subscription")
async def everything_subscription():
    uri = "demo://resource/dynamic/text/1"
    async with connect() as connection, connection.watching(uri):
        # Another client of the same server may have left them on.
        if (await connection.text("toggle-subscriber-updates")).startswith("Stopped"):
            await connection.text("toggle-subscriber-updates")

        async def twice():
            return len(connection.updates) >= 2

        # The first is sent at once, the second five seconds later, when no call is in flight.
        await until(twice, "two updates")
        equal(connection.updates[0], uri)


@check("everything", "cancellation")
async def everything_cancellation():
    async with connect() as connection:
        with anyio.move_on_after(0.5) as scope:
            await connection.call("trigger-long-running-operation", {"duration": 3, "steps": 3})
        equal(scope.cancelled_caught, True)
        equal(await connection.text("echo", {"message": "on"}), "Echo: on")


# ---- filesystem ----


@check("filesystem", "files are listed, written and read")
async def files():
    async with connect() as connection:
        includes(await names(connection.client.list_tools, "tools"), "read_text_file", "write_file")
        file = DIRECTORY / f"python-{MODE}-small.txt"
        content = "first line\nsecond line \u2028 \U0001f980\n"
        await connection.text("write_file", {"path": str(file), "content": content})
        equal(file.read_text(encoding="utf-8"), content)
        equal(await connection.text("read_text_file", {"path": str(file)}), content)
        listing = await connection.text("list_directory", {"path": str(DIRECTORY)})
        matches(re.escape(file.name), listing)


@check("filesystem", "a file of 3 MiB is written, one of 5 MiB of text and structure read")
async def large_files():
    async with connect() as connection:
        large = "a line of thirty-one characters\n" * (3 * MIB // 32)
        file = DIRECTORY / f"python-{MODE}-large.txt"
        await connection.text("write_file", {"path": str(file), "content": large})
        equal(file.read_text(), large)
        # The server answers the text twice, so this makes an answer of 5 MiB.
        half = large[: 5 * MIB // 2]
        file.write_text(half)
        read = await connection.call("read_text_file", {"path": str(file)})
        equal(read.content[0].text, half)
        equal(read.structured_content["content"], half)


@check("filesystem", "a path outside the root is refused")
async def outside():
    async with connect() as connection:
        refused = await connection.call("read_text_file", {"path": "/etc/passwd"})
        equal(refused.is_error, True)
        matches("(?i)denied", refused.content[0].text)


# ---- memory ----


@check("memory", "a graph is kept")
async def memory():
    person, machine = f"Ada of {MODE} python", f"Engine of {MODE} python"
    async with connect() as connection, connect() as other:
        includes(await names(connection.client.list_tools, "tools"), "create_entities")
        entities = [
            {"name": person, "entityType": "person", "observations": ["wrote notes"]},
            {"name": machine, "entityType": "machine", "observations": []},
        ]
        await connection.text("create_entities", {"entities": entities})
        relation = {"from": person, "to": machine, "relationType": "programmed"}
        await connection.text("create_relations", {"relations": [relation]})
        found = await connection.call("search_nodes", {"query": person})
        equal([entity["name"] for entity in found.structured_content["entities"]], [person])
        matches(machine, await other.text("read_graph"))
        await connection.text("delete_entities", {"entityNames": [person, machine]})
        equal(machine in await other.text("read_graph"), False)


# ---- time ----


@check("time", "times are told and converted")
async def times():
    async with connect() as connection:
        includes(await names(connection.client.list_tools, "tools"), "get_current_time")
        now = json.loads(await connection.text("get_current_time", {"timezone": "UTC"}))
        told = datetime.fromisoformat(now["datetime"])
        equal(abs((datetime.now(timezone.utc) - told).total_seconds()) < 60, True)
        arguments = {"source_timezone": "Asia/Tokyo", "time": "12:30", "target_timezone": "UTC"}
        matches("03:30", await connection.text("convert_time", arguments))


@check("time", "a wrong time zone is an error of the tool")
async def wrong_zone():
    async with connect() as connection:
        refused = await connection.call("get_current_time", {"timezone": "Nowhere/At_all"})
        equal(refused.is_error, True)


async def main():
    failed = 0
    for name, run, limit in checks:
        try:
            with anyio.fail_after(limit):
                await run()
            print(f"ok {name}", flush=True)
        except Exception:
            failed += 1
            why = traceback.format_exc().rstrip().replace("\n", "\n    ")
            print(f"not ok {name}: {why}", flush=True)
    return 1 if failed else 0


sys.exit(anyio.run(main))
