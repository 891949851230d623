"""The handbook tells the truth: what it quotes is what the program prints, and commands exist."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Final

import click
import pytest
import yaml

import stingar_dagster
from stingar_dagster.cli import main
from stingar_dagster_tests.deploy.bicep import AZURE

DOCS: Final = AZURE.parents[1] / "docs"
PAGES: Final = ("operations.md", "azure.md", "on-premises.md")
LINKED: Final = (
    *PAGES, "storage.md", "dagster-on-azure.md", "celery.md", "kubernetes.md",
    "../deploy/shippers/README.md",
)  # fmt: skip

# What the handbook quotes of our own messages, as far as no value stands in between.
QUOTED: Final = (
    " are pending: their runs are under way, wait for another try, or took long and rest",
    " are up to date",
    "give it the role ",
    "there is no token for ",
    " not reachable, there is no host ",
    "; check the storage account's name, the address and the network, then run again",
    "; check the address and the network, then run again",
    "set STINGAR_CAPTURE_FORMAT to the Event Hub's Capture format, or move the file away",
    " can't be read (",
    "; run its landed hour again",
    " was written by a newer release; upgrade this one",
    "keeps changing; run it again",
    " records gave ",
    " events recorded, ",
    " were never captured",
    "neither published nor quarantined",
    " are not in landing any more; their sequence numbers ",
    " lie in damaged captures",
    " looks half-written; it is tried again later",
    "if memory ran out, set STINGAR_PROCESSES ",
    "; check the disk",
    "make room there, then run again",
    "Everything is up to date.",
    "It holds.",
    " were in quarantine, ",
)


def printed() -> str:
    """Every piece of text in the package, with what is written over several lines together."""
    pieces = []
    for path in Path(stingar_dagster.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                pieces.append(
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "\0"
                        for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                pieces.append(node.value)
    return "\n".join(pieces)


def flowing(page: str) -> str:
    """A page without its line breaks."""
    return " ".join((DOCS / page).read_text().split())


@pytest.mark.parametrize("message", QUOTED)
def test_what_is_quoted_is_what_is_printed(message: str) -> None:
    assert message in printed()
    assert message.strip() in flowing("operations.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_stingar_command_in_the_docs_exists(page: str) -> None:
    found = re.findall(r"\bstingar ((?:[a-z]+ ?)+)((?:--[a-z-]+[^\n`\"|&]*)?)", commands(page))
    assert found
    for words, options in found:
        command: click.Command = main
        for word in words.split():
            if isinstance(command, click.Group):
                assert word in command.commands, words
                command = command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"--[a-z-]+", options):
            assert option in known, f"stingar {words}{options}"


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_commands_is_shell(page: str) -> None:
    text = re.sub(r"```[a-z]+\n.*?```", "", (DOCS / page).read_text(), flags=re.DOTALL)
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        if "->" in block:  # a drawing
            continue
        result = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, ""), block


def commands(page: str) -> str:
    """What stands in code, where `stingar` is the command."""
    text = (DOCS / page).read_text()
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(stingar [a-z][^`]*)`", text.replace("\n", " "))
    return "\n".join([*blocks, *inline])


@pytest.mark.parametrize("page", LINKED)
def test_every_link_leads_somewhere(page: str) -> None:
    here = (DOCS / page).resolve()
    text = here.read_text()
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
        if "://" in target:
            continue
        led = here.parent / target if target else here
        assert led.exists(), target
        if anchor:
            assert anchor in headings(led), f"{target}#{anchor}"


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitLab and GitHub make them of headings."""
    return {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("folder", [".", "deploy/azure", "deploy/systemd", "deploy/celery"])
def test_every_instance_keeps_what_the_handbook_says(folder: str) -> None:
    told = yaml.safe_load((DOCS.parent / folder / "dagster.yaml").read_text())
    text = flowing("operations.md")
    kept = told["retention"]["sensor"]["purge_after_days"]
    assert kept == {"skipped": 1, "success": 14, "failure": 14}
    assert "Skipped ticks are kept for a day, all others for 14" in text
    longest = told["run_monitoring"]["max_runtime_seconds"]
    assert f"Exceeded maximum runtime of {longest} seconds." in text


def test_the_readme_leads_to_both() -> None:
    text = (DOCS.parent / "README.md").read_text()
    for page in PAGES:
        assert f"(docs/{page})" in text
