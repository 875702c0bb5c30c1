"""What S/MIME costs: messages a second of CPU, one thread, one authority checked; and the layer test on mail that has none.

    PYTHONPATH=.:tests python bench/smime_speed.py [--seconds 1.0]

Prints a table in Markdown: the median of five rounds of each row. Run it alone on the machine; figures belong to one machine.
Rows are (name, callable) pairs given by functions below: add yours to ROWS.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

from support.envelopes import bob, bob_key
from support.smime import ALICE, NOW, admit, alice, alice_ec, base64_lines, letter, message_of, mixed

from mssante.smime.decrypt import open_message
from mssante.smime.encrypt import encrypt_message
from mssante.smime.layer import find_layer
from mssante.smime.sign import sign_message
from mssante.smime.values import Cipher
from mssante.smime.verify import verify_message

Row = tuple[str, Callable[[], object]]
ROUNDS = 5
TEXT = letter(b"Compte rendu : ligne de texte ordinaire.\r\n" * 240)  # 10 KB
DOCUMENT = message_of(mixed(TEXT.partition(b"MIME-Version: 1.0\r\n")[2][:2000], (
    b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64_lines(bytes(6000)))))


def layer_rows() -> Iterator[Row]:
    """The question that reception asks for each message."""
    yield "layer test, text 10 KB", partial(find_layer, TEXT)
    yield "layer test, two parts 10 KB", partial(find_layer, DOCUMENT)


def signature_rows() -> Iterator[Row]:
    """Signing and verifying 10 KB, clear and opaque."""
    for name, who in (("RSA-2048", alice()), ("P-256", alice_ec())):
        for form, opaque in (("clear", False), ("opaque", True)):
            signed = sign_message(TEXT, who, opaque=opaque, now=NOW)
            yield f"sign {form}, {name}, 10 KB", partial(sign_message, TEXT, who, opaque=opaque, now=NOW)
            yield f"verify {form}, {name}, 10 KB", partial(verify_message, signed, author=ALICE, check=admit, now=NOW)


def encryption_rows() -> Iterator[Row]:
    """Encrypting and opening 10 KB for one recipient."""
    for name, kind in (("RSA-2048 OAEP", "rsa"), ("ECDH P-256", "P-256")):
        for cipher in (Cipher.AES256_GCM, Cipher.AES256_CBC):
            sealed = encrypt_message(TEXT, [bob(kind).certificate], cipher=cipher)
            yield f"encrypt {cipher.value}, {name}, 10 KB", partial(encrypt_message, TEXT, [bob(kind).certificate], cipher=cipher)
            yield f"open {cipher.value}, {name}, 10 KB", partial(open_message, sealed, [bob_key(kind)])


ROWS: list[Callable[[], Iterator[Row]]] = [layer_rows, signature_rows, encryption_rows]


def per_second(act: Callable[[], object], seconds: float) -> float:
    """Give how many times a second an act can be done: the median of five rounds."""
    act()
    rounds = []
    for _ in range(ROUNDS):
        count, start = 0, time.process_time()
        end = start + seconds / ROUNDS
        while (now := time.process_time()) < end:
            for _ in range(10):
                act()
            count += 10
        rounds.append(count / (now - start))
    return statistics.median(rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="time given to each row")
    seconds = parser.parse_args().seconds
    print("| act | a second of CPU | µs each |\n|---|---|---|")
    for rows in ROWS:
        for name, act in rows():
            rate = per_second(act, seconds)
            print(f"| {name} | {rate:,.0f} | {1e6 / rate:,.1f} |", flush=True)


if __name__ == "__main__":
    main()
