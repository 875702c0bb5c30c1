"""Coverage-guided fuzzing of the IMAP core (run by hand or by CI for a set time; pytest replays what it found).

    python tests/fuzz/atheris_imap.py [SEEDS-FOLDER] -max_total_time=60

Input: first octet is the state and the limits, the rest is what a client sends. Checked for each: no exception; the same
events whole and octet by octet; memory within limits; every answer to a fault is one ASCII line. A crash is written by
libFuzzer as `crash-*`: put it into `tests/fuzz/seeds/imap`, where `test_fuzz_seeds.py` plays it for ever.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEEDS = Path(__file__).resolve().parent / "seeds" / "imap"
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).resolve().parent)]


def one_input(data: bytes) -> None:
    """Play one input; raises on any broken promise."""
    from test_fuzz_imap import SMALL, run  # late: atheris must instrument the imports

    from mssante.protocol.imap.faults import ClientFault, CommandRefused, encode_fault
    from mssante.protocol.imap.limits import Limits

    if not data:
        return
    states = ("before tls", "before login", "authenticated", "selected", "rev2")
    state, limits = states[data[0] % len(states)], SMALL if data[0] & 0x40 else Limits()
    stream = data[1:4096]
    whole = run(state, [stream], limits)
    cut = run(state, [stream[at:at + 1] for at in range(len(stream))], limits)
    assert whole == cut, "whole and octet by octet differ"
    for event in whole:
        if isinstance(event, ClientFault | CommandRefused):
            line = encode_fault(event, event.tag)
            assert line.endswith(b"\r\n") and line.count(b"\n") == 1 and line.isascii(), "answer is not one line"


def write_dictionary(path: Path) -> None:
    """Write the words of the grammar in libFuzzer's form."""
    from test_fuzz_imap import WORDS

    from mssante.protocol.imap.commands.table import PARSERS

    words = [*WORDS, *(name.encode("ascii") + b" " for name in PARSERS)]
    path.write_text("".join('"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n' for word in words), encoding="ascii")


def first_seeds(folder: Path) -> None:
    """Write the client's lines of every dialogue as seeds."""
    for dialogue in sorted((ROOT / "tests" / "dialogues").glob("*.txt")):
        lines = [line[3:] for line in dialogue.read_text(encoding="utf-8").splitlines() if line.startswith("C: ")]
        stream = "\r\n".join(lines).encode("utf-8")[:3000] + b"\r\n"
        (folder / f"dialogue-{dialogue.stem}").write_bytes(bytes([3]) + stream)


def main() -> None:
    """Run libFuzzer."""
    import tempfile

    import atheris

    with atheris.instrument_imports(include=["mssante.protocol"]):
        import mssante.protocol.imap.session  # noqa: F401 -- instrumented here, used by one_input
    work = Path(tempfile.mkdtemp(prefix="fuzz-imap-"))
    first_seeds(work)
    write_dictionary(work.with_suffix(".dict"))
    arguments = [sys.argv[0], f"-dict={work.with_suffix('.dict')}", "-max_len=3000", *sys.argv[1:], str(work), str(SEEDS)]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
