"""`gaussmith priors` as a user runs it; what it calls is tested in priors/test_hub.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaussmith.cli import main
from gaussmith.events import UserError
from gaussmith.priors import hub


def test_the_list_names_every_prior_and_whether_it_is_here(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "cached_folder", lambda hub_id: tmp_path if "v1-5" in hub_id else None)
    assert main(["priors"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert rows.keys() >= {"embedded", *hub.KNOWN}
    assert "partly" in rows["sd15"] and "partly" not in rows["mvdream"]
    assert "CreativeML OpenRAIL-M" in rows["sd15"] and "2.1 GB" in rows["sd15"]
    assert main(["priors", "list"]) == 0


def test_get_fetches_and_says_where(capsys, monkeypatch):
    asked = []

    def fetch(name, half=True, say=print):
        asked.append((name, half))
        return hub.Located("stable-diffusion", Path("/there"), name)

    monkeypatch.setattr(hub, "fetch", fetch)
    assert main(["priors", "get", "sd15"]) == 0
    assert "sd15 is in /there" in capsys.readouterr().out
    assert main(["priors", "get", "sd15", "--full"]) == 0
    assert asked == [("sd15", True), ("sd15", False)]


@pytest.mark.parametrize(
    ("args", "says"),
    [(["get"], "say which prior"), (["get", "embedded"], "came with gaussmith"), (["list", "sd15"], "takes no name"),
     (["get", "sd16"], "there is no prior")],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(args, says, capsys):
    assert main(["priors", *args]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_failed_fetch_is_one_sentence(capsys, monkeypatch):
    def fetch(name, half=True, say=print):
        raise UserError("could not fetch sd15 (ConnectError)")

    monkeypatch.setattr(hub, "fetch", fetch)
    assert main(["priors", "get", "sd15"]) == 2
    assert capsys.readouterr().err == "gaussmith: could not fetch sd15 (ConnectError)\n"
