"""Hostile text in Dagster's UI: a real server, a real browser, nothing asked for, nothing run."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from stingar_dagster_tests.reliability.hostile import CANARY, CATCHER, cases
from stingar_dagster_tests.reliability.serving import ROOT, served
from stingar_dagster_tests.support import NOON, Site, capture, event

try:
    from playwright.sync_api import Dialog, Page, Route, WebSocket, sync_playwright
except ImportError:
    pytest.skip("playwright is not there: pip install playwright", allow_module_level=True)

from stingar_dagster_tests.browser.opening import group_path

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SCREENSHOTS = os.environ.get("STINGAR_SCREENSHOTS")
CHROMIUM = os.environ.get("STINGAR_CHROMIUM") or shutil.which("chromium") or ""
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--no-first-run",
)  # fmt: skip
# What a name in landing can't hold is a slash: everything else that attacks is here.
MARKUP = (
    f"![x](http:{CANARY}) <img src=x id={CANARY} onerror=window.{CANARY}=1>"
    f"<script>window.{CANARY}=1<script>[a](javascript:window.{CANARY}=1)"
    f"<a id={CANARY} href=javascript:window.{CANARY}=1>x \u202egnp\x1b[31m"
)
HOUR_KEY, DAY_KEY = "2026-11-03-12:00", "2026-11-03"
PLANTED = f"""() => ({{
    ran: window.{CANARY} !== undefined,
    made: [...document.querySelectorAll(
        '[id*="{CANARY}"], a[href^="javascript"], img[src*="{CANARY}"], iframe, base'
    )].map(element => element.outerHTML.slice(0, 200)),
    links: [...document.querySelectorAll('a[href]')].map(a => a.href)
        .filter(href => href.startsWith('{CATCHER}')),
    text: document.body.innerText,
}})"""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A server's address, and runs by what they are."""
    if not Path(CHROMIUM).is_file():
        pytest.skip("Chromium is not there: install it, or set STINGAR_CHROMIUM to its program")
    folder = tmp_path_factory.mktemp("ui")
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith(("STINGAR_", "DAGSTER_")):
                patch.delenv(name)
        runs = fill(folder, patch)
        with served(folder, DAGSTER_HOME=str(folder)) as address:
            yield address, runs


def fill(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """A lake of hostile events, made by runs; and a run that fails in each of two ways."""
    shutil.copy(ROOT / "dagster.yaml", folder)
    shutil.copy(ROOT / "workspace.yaml", folder)
    patch.chdir(folder)
    patch.setenv("DAGSTER_HOME", str(folder))
    site = Site(str(folder / "landing"), str(folder / f"lake {MARKUP}"))
    patch.setenv("STINGAR_LANDING", site.landing)
    patch.setenv("STINGAR_LAKE", site.lake)
    patch.setenv("STINGAR_START", "2026-11-02")
    from stingar_dagster.definitions import build_definitions
    from stingar_dagster.instance import open_instance

    pipeline = site.pipeline()
    bodies = [event(NOON), *(case.body for case in cases(NOON))]
    name = pipeline.landing.format.path("ns", MARKUP, 0, NOON)
    pipeline.landing.store.write(name, capture(bodies))
    ledger = pipeline.lake.layout.ledger(NOON)
    store = pipeline.lake.store
    runs: dict[str, str] = {}
    defs = build_definitions(pipeline.settings)
    with open_instance() as instance:

        def run(what: str, job: str, key: str, asked_by: str | None = None) -> None:
            tags = {"stingar/asked_by": asked_by} if asked_by else {}
            result = defs.resolve_job_def(job).execute_in_process(
                instance=instance, partition_key=key, raise_on_error=False, tags=tags
            )
            assert result.success == (not what.startswith("failed")), what
            runs[what] = result.run_id

        for job, key in (("land", HOUR_KEY), ("publish", HOUR_KEY), ("roll", DAY_KEY)):
            run(job, f"stingar_{job}", key)
        good = store.read(ledger)
        store.write(ledger, good.replace(b'"quarantined":', b'"quarantined":1', 1))
        run("failed check", "stingar_land", HOUR_KEY, asked_by="sensor")
        store.write(ledger, b'{"format":999}\n' + good)
        run("failed", "stingar_land", HOUR_KEY)
        store.write(ledger, good)
    return runs


@pytest.fixture(scope="module")
def page(ui: tuple[str, dict[str, str]]) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*OPTIONS])
        page = browser.new_page(viewport={"width": 1600, "height": 2400})
        yield page
        browser.close()


def pages(runs: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Paths by name, each with a text that shows that it is there."""
    hour, day = quote(HOUR_KEY, safe=""), DAY_KEY
    found = {
        "graph": (group_path(), "cleaned_events"),
        "runs": ("/runs", "stingar_land"),
        "failed run": (f"/runs/{runs['failed']}", "written by a newer release"),
        "failed check run": (f"/runs/{runs['failed check']}", "STEP_FAILURE"),
        "roll": (f"/runs/{runs['roll']}", "date=2026-11-03"),
    }
    for asset, told in (
        ("landed_events", "decoded now"),
        ("quarantined_events", "reason not_json"),
        ("cleaned_events", "duplicates left out"),
    ):
        path = f"/assets/stingar/{asset}?view=partitions&partition={hour}"
        found[f"{asset} partitions"] = (path, told)
    found["cleaned_events overview"] = ("/assets/stingar/cleaned_events?view=overview", "event_id")
    for asset, told in (("landed_events", "quarantined"), ("cleaned_events", "add up")):
        path = f"/assets/stingar/{asset}?view=checks&checkDetail=counts_reconcile"
        found[f"{asset} checks"] = (path, told)
    for asset, told in (
        ("daily_commands", "dagster/size_bytes"),
        ("daily_sources", "top sources"),
        ("daily_hours", "events an hour"),
        ("daily_drift", "drift by sensor"),
        ("daily_report", "source addresses"),
    ):
        path = f"/assets/stingar/{asset}?view=partitions&partition={day}"
        found[f"{asset} partitions"] = (path, told)
    return found


def test_no_page_runs_or_asks_for_what_an_attacker_wrote(
    ui: tuple[str, dict[str, str]], page: Page
) -> None:
    address, runs = ui
    origin = urlsplit(address).netloc
    strange: list[str] = []
    dialogs: list[str] = []

    def look(route: Route) -> None:
        place = urlsplit(route.request.url)
        if place.netloc == origin or place.scheme in ("data", "blob"):
            route.continue_()
        else:
            strange.append(route.request.url)
            route.abort()

    def look_at_socket(opened: WebSocket) -> None:
        if urlsplit(opened.url).netloc != origin:
            strange.append(opened.url)

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.route("**/*", look)
    page.on("websocket", look_at_socket)
    page.on("dialog", dismiss)
    seen: dict[str, str] = {}
    for name, (path, text) in pages(runs).items():
        page.goto(address + path, wait_until="domcontentloaded")
        page.get_by_text(text).first.wait_for(state="attached", timeout=20_000)
        page.wait_for_timeout(500)
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/{name}.png")
        planted = page.evaluate(PLANTED)
        seen[name] = planted.pop("text")
        assert planted == {"ran": False, "made": [], "links": []}, name
    assert strange == []
    assert dialogs == []
    # The text was there to be run: pages of runs and partitions show it, as text.
    for name in ("failed run", "failed check run", "landed_events partitions"):
        assert f"onerror=window.{CANARY}=1" in seen[name], name
    for name, text in seen.items():
        assert "\u202e" not in text, name
        assert "\x1b" not in text, name
