"""Loading a configuration folder: the goldens of `tests/config/bad`, and inputs that no golden can hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from mssante.config.load import MAX_FILE, ConfigFault, load_config
from mssante.config.model import OperatorConfig
from mssante.lang import set_language

BAD = Path(__file__).resolve().parents[2] / "config" / "bad"
CASES = sorted(folder for folder in BAD.iterdir() if folder.is_dir())
OPERATOR = '[operator]\nname = "alpha"\nhostname = "mta.alpha.mssante.test"\n'
DOMAINS = '[[domain]]\nname = "alpha.mssante.test"\n'


@pytest.fixture(autouse=True)
def _french() -> None:
    set_language("fr")


def folder_with(tmp_path: Path, operator: str | bytes = OPERATOR, domains: str | bytes = DOMAINS) -> Path:
    """Write both files."""
    for name, text in (("operator.toml", operator), ("domains.toml", domains)):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path


def test_there_are_enough_goldens() -> None:
    assert len(CASES) >= 15
    assert sum("-en-" in folder.name for folder in CASES) >= 3


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_broken_configuration_gets_its_text(folder: Path) -> None:
    set_language("en" if "-en-" in folder.name else "fr")
    with pytest.raises(ConfigFault) as caught:
        load_config(folder)
    assert str(caught.value) + "\n" == (folder / "expected.txt").read_text(encoding="utf-8")
    assert all(problem.startswith(("operator.toml : ", "domains.toml : ")) and " -> " in problem
               for problem in caught.value.problems)


@pytest.mark.parametrize("text", [b"a = " + b"[" * 100_000, b"a = " + b"9" * 5000, b"\x00", b"a = 1\n\xff", b"# " * MAX_FILE,
                                  b"a = 2026-99-99"])
def test_hostile_files_are_told_and_nothing_more(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ConfigFault) as caught:
        load_config(folder_with(tmp_path, operator=text))
    assert len(caught.value.problems) == 1 and len(str(caught.value)) < 300


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault) as caught:
        load_config(folder_with(tmp_path, operator=OPERATOR + "[listen]\nsmtp = \"" + "x" * 5000 + '"\n'))
    assert len(str(caught.value)) < 300


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "operator.toml").mkdir()
    (tmp_path / "domains.toml").write_text(DOMAINS)
    with pytest.raises(ConfigFault, match=r"operator\.toml : .*-> rendez ce fichier lisible"):
        load_config(tmp_path)


def test_paths_are_relative_to_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "operator_config"
    inner.mkdir()
    config = load_config(folder_with(inner))
    assert config.path(config.operator.tls.operator_key) == (tmp_path / "certs" / "mta.key").resolve()
    assert config.storage_url == f"sqlite:///{(tmp_path / 'data' / 'mssante.db').resolve()}"


def test_doors_may_share_port_zero_and_be_closed(tmp_path: Path) -> None:
    text = OPERATOR + '[listen]\nsmtp = "127.0.0.1:0"\nimap = "127.0.0.1:0"\nimaps = ""\nconsole = "[::1]:0"\n'
    assert load_config(folder_with(tmp_path, operator=text)).operator.listen.imaps == ""


def test_only_the_operator_section_is_needed(tmp_path: Path) -> None:
    needed = [name for name, field in OperatorConfig.model_fields.items() if field.is_required()]
    assert needed == ["operator"]
    assert load_config(folder_with(tmp_path)).operator.limits.recipients == 200


@pytest.mark.parametrize("value", ["INBOX", "inbox", "a/b", "é", "", ".", "a*", "x" * 33])
def test_the_prefix_of_other_users_is_one_plain_level(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigFault, match=r"imap\.other_users_prefix"):
        load_config(folder_with(tmp_path, operator=OPERATOR + f'[imap]\nother_users_prefix = "{value}"\n'))
