"""The commands of a Markdown document, run as a reader would: in order, in one shell.

A block ```sh is run, and has to end well. What follows it says what it prints:

- a block ```text: these lines, in this order, among others; `...` stands for anything within one;
- a table: its first column has what may be printed, and one of its rows has to fit.
"""

import re
import subprocess
import tempfile
import threading

FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.M | re.S)
ROW = re.compile(r"^\| `(?P<printed>[^`]+)`", re.M)
BLOCK_WITHIN = 1200


class Block:
    """Commands, with the heading that they stand under and what is said of their output."""

    def __init__(self, document, match):
        text = document.read_text()
        self.commands = match[2]
        headings = re.findall(r"^#+ (.*)$", re.sub(FENCE, "", text[: match.start()]), re.M)
        self.heading = headings[-1]
        line = text.count("\n", 0, match.start()) + 1
        self.name = f"{document.name}:{line}: {self.commands.strip().splitlines()[0]}"
        after = text[match.end():]
        self.prints = self.one_of = None
        said = re.match(r"\n```text\n(.*?)^```\n", after, re.M | re.S)
        if said:
            self.prints = said[1].splitlines()
        table = re.match(r"\n((?:\|.*\n)+)", after)
        if table:
            self.one_of = ROW.findall(table[1])
            assert self.one_of, f"{self.name}: a table that says nothing of what is printed"

    def judge(self, output):
        """Whether the output is what the document says."""
        lines = iter(output.splitlines())
        for said in self.prints or []:
            fits = pattern(said)
            assert any(fits.search(line) for line in lines), f"nothing printed is {said!r}, in:\n{output}"
        if self.one_of:
            assert any(pattern(said).search(output) for said in self.one_of), f"no row fits:\n{output}"


def pattern(said):
    return re.compile(".*".join(map(re.escape, said.split("..."))))


def blocks(document):
    text = document.read_text()
    kinds = {match[1] for match in FENCE.finditer(text)}
    assert kinds <= {"sh", "text", "json", "toml", "yaml", "nginx"}, f"blocks whose kind says nothing: {kinds}"
    return [Block(document, match) for match in FENCE.finditer(text) if match[1] == "sh"]


class Shell:
    """One shell, in which blocks are run one after the other. A command that fails ends it."""

    END = "-- the end of the block --"

    def __init__(self, directory, environment):
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail"], cwd=directory, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )

    def run(self, commands):
        """Runs commands; answers whether all ended well, and what they printed."""
        if self.process.poll() is not None:
            return False, "not run, since a command before it failed"
        # Read from a file, so that a command that reads its input cannot eat the next one.
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(commands)
            file.flush()
            self.process.stdin.write(f". {file.name} </dev/null\nprintf '\\n%s\\n' '{self.END}'\n")
            self.process.stdin.flush()
            late = threading.Timer(BLOCK_WITHIN, self.process.kill)
            late.start()
            printed = []
            try:
                for line in self.process.stdout:
                    if line.rstrip("\n") == self.END:
                        return True, "".join(printed)
                    printed.append(line)
            finally:
                late.cancel()
        return False, f"ended with {self.process.wait()}:\n{''.join(printed)}"

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(30)
