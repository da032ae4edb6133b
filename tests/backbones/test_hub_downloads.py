"""Downloads from the hub: here from a server of our own that answers as it does, or fails to."""

import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import constants

from digit_folders import write_digit_folder
from lacvit.backbones import hub
from lacvit.cli.main import main
from lacvit.errors import InputError

REPOSITORY = "me/mine"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
AGAIN = "Give the same command again to go on with the download"


@dataclass
class StandIn:
    """What the server does; ``files`` holds what it sends and what it says the sha256 is."""

    address: str = ""
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    cuts: int = 0  # so many answers end in the middle
    status: int = 200
    hangs: threading.Event | None = None  # answers come when it is set
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, file, range


class Server(http.server.ThreadingHTTPServer):
    stand_in: StandIn

    def handle_error(self, *_: object) -> None:
        """Whoever waits no longer hangs up, which is no fault here."""


class Answers(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        stand_in = self.server.stand_in
        folder, _, name = self.path.partition("/resolve/main/")
        if folder != f"/{REPOSITORY}":  # the probe, and what else the client asks
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        asked = self.headers.get("Range")
        stand_in.asked.append((self.command, name, asked))
        if stand_in.hangs is not None:
            stand_in.hangs.wait()
        if name not in stand_in.files or stand_in.status != 200:
            self.send_response(404 if stand_in.status == 200 else stand_in.status)
            if stand_in.status == 200:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("X-Error-Code", "EntryNotFound")
            if stand_in.status == 401:  # of what is not there, or not for everybody
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, sha256 = stand_in.files[name]
        start = int(re.findall(r"\d+", asked)[0]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{sha256}"')
        self.send_header("ETag", '"another"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            cut = stand_in.cuts > 0
            stand_in.cuts -= cut
            rest = content[start:]
            self.wfile.write(rest[: len(rest) // 2] if cut else rest)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A hub on this machine with one repository, and an empty cache."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    server = Server(("127.0.0.1", 0), Answers)
    address = f"http://127.0.0.1:{server.server_port}"
    server.stand_in = StandIn(address, files={"model.safetensors": (WEIGHTS, SHA256)})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what a broken answer leaves
    monkeypatch.setattr(time, "sleep", lambda _: None)  # before the client tries again
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.stand_in
    if server.stand_in.hangs is not None:
        server.stand_in.hangs.set()
    server.shutdown()
    thread.join()
    server.server_close()


def find() -> Path:
    return hub.find_file(REPOSITORY, ["model.safetensors"], spec="hf:me/mine")


def fetch_preprocessor() -> None:
    hub.fetch_those_there(REPOSITORY, ["preprocessor_config.json"], spec="hf:me/mine")


def refusal() -> str:
    with pytest.raises(InputError) as refused:
        find()
    return str(refused.value)


def kept() -> list[Path]:
    """What the cache holds of the repository: links and bytes."""
    folder = Path(constants.HF_HUB_CACHE) / "models--me--mine"
    places = [*(folder / "snapshots").glob("*/*"), *(folder / "blobs").glob("*")]
    return [place for place in places if place.is_symlink() or place.is_file()]


def test_what_is_as_the_hub_says_is_kept(stand_in: StandIn) -> None:
    path = find()
    assert path.read_bytes() == WEIGHTS
    assert path.resolve().name == SHA256
    assert len(kept()) == 2
    stand_in.files.clear()
    assert find() == path  # from the cache


def test_a_file_of_the_right_size_and_another_sum_is_deleted(stand_in: StandIn) -> None:
    damaged = WEIGHTS[:-1] + b"?"
    stand_in.files["model.safetensors"] = (damaged, SHA256)
    found = hashlib.sha256(damaged).hexdigest()
    assert refusal() == (
        f"model.safetensors of hf:me/mine was damaged on its way here: its sha256 is {found}, and "
        f"the hub says {SHA256}. It was deleted. Give the same command again to fetch it anew; if "
        f"that ends here too, a proxy between here and {stand_in.address} may change it."
    )
    assert hub.cached_file(REPOSITORY, "model.safetensors") is None
    assert kept() == []
    stand_in.files["model.safetensors"] = (WEIGHTS, SHA256)
    assert find().read_bytes() == WEIGHTS


def test_a_damaged_file_that_others_share_is_deleted_with_every_link_to_it(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Newer versions of the hub's library keep one store for all repositories, behind two links."""
    download = hub.huggingface_hub.hf_hub_download
    shared = tmp_path / "shared" / "bytes"
    shared.parent.mkdir()

    def through_a_store(*which: str, **how: object) -> str:
        path = Path(download(*which, **how))
        stored = path.resolve()
        stored.rename(shared)
        stored.symlink_to(shared)
        return str(path)

    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", through_a_store)
    stand_in.files["model.safetensors"] = (WEIGHTS[:-1] + b"?", SHA256)
    assert "It was deleted" in refusal()
    assert kept() == []
    assert not shared.exists()


def test_a_cache_without_links_is_compared_too(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download, "are_symlinks_supported", lambda *_: False)
    stand_in.files["model.safetensors"] = (WEIGHTS[:-1] + b"?", SHA256)
    assert "It was deleted" in refusal()
    assert kept() == []
    stand_in.files["model.safetensors"] = (WEIGHTS, SHA256)
    assert not find().is_symlink()


def test_a_small_file_has_no_sum_to_compare(stand_in: StandIn) -> None:
    stand_in.files["config.json"] = (b"{}", "f" * 40)  # git's own hash
    assert hub.find_file(REPOSITORY, ["config.json"], spec="hf:me/mine").read_bytes() == b"{}"


def test_a_dropped_connection_is_taken_up_where_it_broke(stand_in: StandIn) -> None:
    stand_in.cuts = 1
    assert find().read_bytes() == WEIGHTS
    gets = [asked for method, _, asked in stand_in.asked if method == "GET"]
    assert gets == [None, f"bytes={len(WEIGHTS) // 2}-"]


def test_a_connection_that_breaks_again_and_again_says_how_to_go_on(stand_in: StandIn) -> None:
    stand_in.cuts = 1000
    text = refusal()
    assert text.startswith(
        f"model.safetensors of hf:me/mine could not be downloaded from {stand_in.address}/me/mine: "
    )
    assert AGAIN in text
    assert kept() == []
    stand_in.cuts = 0
    assert find().read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (500, "500 Internal Server Error", AGAIN),
        (401, "401", ". Check the name; if it is a private one, log in"),
    ],
)
def test_a_server_that_refuses_is_quoted(
    status: int, said: str, advice: str, stand_in: StandIn
) -> None:
    stand_in.status = status
    text = refusal()
    assert said in text
    assert "\n" not in text
    assert advice in text
    assert (AGAIN in text) == (advice == AGAIN)


def test_a_server_that_never_answers_is_given_up(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.hangs = threading.Event()
    ask = partial(hub.huggingface_hub.get_hf_file_metadata, timeout=0.2)  # instead of 10 seconds
    monkeypatch.setattr(hub.huggingface_hub, "get_hf_file_metadata", ask)
    text = refusal()
    assert "timed out" in text
    assert AGAIN in text


def test_a_hub_that_goes_away_between_two_questions_is_said(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}")
    text = refusal()
    assert "refused" in text
    assert AGAIN in text


def test_a_file_that_may_be_missing_is_no_reason_to_stop(stand_in: StandIn) -> None:
    fetch_preprocessor()
    assert hub.cached_file(REPOSITORY, "preprocessor_config.json") is None
    stand_in.asked.clear()
    fetch_preprocessor()
    assert stand_in.asked == []  # the cache remembers that there is none


def test_without_network_two_files_are_asked_for_once(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(hub, "reachable", lambda: bool(asked.append(True)))
    hub.fetch_those_there(REPOSITORY, ["a.json", "b.json"], spec="hf:me/mine")
    assert asked == [True]


def test_a_file_that_is_there_and_does_not_come_is_no_missing_file(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a model would silently get other images than its authors gave it."""
    stand_in.files["preprocessor_config.json"] = (b"{}" * 999, "f" * 40)
    stand_in.cuts = 1000
    with pytest.raises(InputError, match=AGAIN):
        fetch_preprocessor()

    def went_away(*_: object, **__: object) -> None:
        raise hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", went_away)
    with pytest.raises(InputError, match="cannot be reached"):
        fetch_preprocessor()


def test_a_broken_download_ends_the_command_with_its_message(
    stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.cuts = 1000
    stand_in.files["config.json"] = (b"{}" * 999, "f" * 40)
    data = write_digit_folder(tmp_path / "digits")
    argv = ["train", str(data), "--backbone", "timm:hf-hub:me/mine"]
    argv += ["--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "config.json of timm:hf-hub:me/mine could not be downloaded" in said
    assert AGAIN in said
    assert "Traceback" not in said
