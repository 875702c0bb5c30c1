"""The words of each S/MIME code: what it means, who must do what. One table for the command line and `docs/smime.md`.

A test checks that every code has its words here and its row in the document. Pure.
"""

from __future__ import annotations

from mssante.lang import say
from mssante.services.sealing import SealReason
from mssante.smime.values import SmimeCode

_WORDS: dict[str, tuple[str, str, str, str]] = {  # meaning (fr, en), who does what (fr, en)
    SmimeCode.NONE: ("ni signé ni chiffré", "neither signed nor encrypted", "rien à faire", "nothing to do"),
    SmimeCode.VALID: (
        "signé par l'auteur, tout le message est couvert, certificat admis",
        "signed by the author, whole message, certificate admitted",
        "rien à faire", "nothing to do"),
    SmimeCode.ALTERED: (
        "le contenu n'est plus celui qui a été signé", "the content is no longer what was signed",
        "destinataire : ne pas s'y fier ; expéditeur : renvoyer, chercher ce qui modifie ses messages en route",
        "recipient: do not rely on it; sender: send again, find what changes messages on the way"),
    SmimeCode.SIGNATURE: (
        "la signature n'est pas celle de la clé du certificat", "the signature is not that of the certificate's key",
        "destinataire : ne pas s'y fier ; expéditeur : vérifier son outil de signature",
        "recipient: do not rely on it; sender: check the signing tool"),
    SmimeCode.CHAIN: (
        "le certificat ne mène pas à une autorité admise", "the certificate does not lead to an admitted authority",
        "expéditeur : signer avec un certificat IGC-Santé ; administrateur : voir smime.issuers et les ancres",
        "sender: sign with an IGC-Santé certificate; administrator: see smime.issuers and the anchors"),
    SmimeCode.EXPIRED: (
        "le certificat n'est pas dans ses dates", "the certificate is not within its dates",
        "expéditeur : renouveler son certificat", "sender: renew the certificate"),
    SmimeCode.REVOKED: (
        "le certificat est révoqué", "the certificate is revoked",
        "destinataire : ne pas s'y fier ; expéditeur : demander un nouveau certificat",
        "recipient: do not rely on it; sender: ask for a new certificate"),
    SmimeCode.REVOCATION_UNKNOWN: (
        "l'état de révocation ne peut être connu", "the state of revocation cannot be known",
        "notre administrateur : les CRL de l'autorité manquent ou sont périmées (mssante check)",
        "our administrator: the authority's CRLs are missing or past their time (mssante check)"),
    SmimeCode.USAGE: (
        "le certificat n'est pas fait pour cet usage", "the certificate is not for this use",
        "expéditeur : prendre un certificat SERV S/MIME ou ORG SIGN", "sender: take a SERV S/MIME or ORG SIGN certificate"),
    SmimeCode.SENDER: (
        "le signataire n'est pas l'auteur affiché", "the signer is not the author shown",
        "destinataire : vérifier qui écrit ; expéditeur : signer avec le certificat de son adresse, un seul From",
        "recipient: check who writes; sender: sign with the certificate of the address, one From only"),
    SmimeCode.PARTIAL: (
        "une partie du message n'est pas couverte par la signature", "a part of the message is not covered by the signature",
        "destinataire : ce qui est hors de la signature n'est de personne ; expéditeur : signer le message entier",
        "recipient: what is outside the signature is nobody's; sender: sign the whole message"),
    SmimeCode.SEVERAL: (
        "plusieurs signataires", "several signers", "expéditeur : une seule signature", "sender: one signature only"),
    SmimeCode.NO_SIGNER: (
        "pas de signataire, ou son certificat manque", "no signer, or the certificate is missing",
        "expéditeur : joindre son certificat à la signature", "sender: put the certificate into the signature"),
    SmimeCode.CONFUSED: (
        "la structure peut se lire de deux façons", "the structure can be read in two ways",
        "destinataire : ne pas s'y fier ; expéditeur : renvoyer avec un logiciel conforme",
        "recipient: do not rely on it; sender: send again with a conforming program"),
    SmimeCode.ALGORITHM: (
        "algorithme ou clé faible, ou inconnu", "weak or unknown algorithm or key",
        "expéditeur : SHA-2, RSA 2048 bits et plus ou ECDSA, AES", "sender: SHA-2, RSA of 2048 bits or more or ECDSA, AES"),
    SmimeCode.UNREADABLE: (
        "la structure S/MIME est illisible", "the S/MIME structure cannot be read",
        "expéditeur : renvoyer", "sender: send again"),
    SmimeCode.LIMIT: (
        "au-delà d'une limite de taille, de profondeur ou de nombre", "beyond a limit of size, depth or count",
        "expéditeur : envoyer plus petit ou plus simple", "sender: send something smaller or simpler"),
    SmimeCode.ENCRYPTED: (
        "chiffré, et laissé ainsi", "encrypted, and left so",
        "destinataire : l'ouvrir avec sa clé ; administrateur : lui donner une clé (mssante smime key add)",
        "recipient: open it with the key; administrator: give the mailbox a key (mssante smime key add)"),
    SmimeCode.OPENED: (
        "chiffré ; une vue lisible est en INBOX, l'original dans le dossier des originaux",
        "encrypted; a readable view is in INBOX, the original in the folder of originals", "rien à faire", "nothing to do"),
    SmimeCode.NOT_FOR_US: (
        "chiffré pour d'autres clés que les nôtres", "encrypted for none of our keys",
        "expéditeur : prendre notre certificat actuel ; administrateur : garder les anciennes clés",
        "sender: take our present certificate; administrator: keep the older keys"),
    SmimeCode.BROKEN: (
        "la clé convient et le contenu ne s'ouvre pas : altéré", "the key fits and the content does not open: altered",
        "expéditeur : renvoyer", "sender: send again"),
    SmimeCode.UNSAFE: (
        "ouvert, et laissé fermé par prudence (EFAIL) : clair et chiffré mêlés, ou contenu modifiable",
        "kept closed by prudence (EFAIL): clear and encrypted parts mixed, or content that may be altered",
        "expéditeur : chiffrer le message entier en AES-GCM, ou le signer d'abord",
        "sender: encrypt the whole message in AES-GCM, or sign it first"),
    SealReason.NO_KEY: (
        "au dépôt : la boîte n'a pas de clé de signature", "at submission: the mailbox has no signing key",
        "administrateur : mssante smime key add", "administrator: mssante smime key add"),
    SealReason.KEY_FAILED: (
        "au dépôt : la clé de la boîte ne peut servir", "at submission: the mailbox's key cannot be used",
        "administrateur : mssante smime key list dit pourquoi", "administrator: mssante smime key list says why"),
    SealReason.KEY_EXPIRED: (
        "au dépôt : le certificat de la boîte n'est pas dans ses dates",
        "at submission: the mailbox's certificate is not in its dates",
        "administrateur : le renouveler, puis mssante smime key add", "administrator: renew it, then mssante smime key add"),
    SealReason.NO_CERTIFICATE: (
        "au dépôt : aucun certificat connu du destinataire", "at submission: no certificate of the recipient is known",
        "utilisateur : lui demander un message signé ; administrateur : mssante smime certificate add",
        "user: ask for a signed message; administrator: mssante smime certificate add"),
    SealReason.REFUSED_CERTIFICATE: (
        "au dépôt : des certificats du destinataire sont connus, aucun n'est admis",
        "at submission: the certificates known are not admitted",
        "destinataire : renouveler son certificat ; administrateur : mssante smime certificate list ADRESSE",
        "recipient: renew the certificate; administrator: mssante smime certificate list ADDRESS"),
}
CODES: tuple[str, ...] = tuple(str(code) for code in _WORDS)


def meaning(code: str) -> str:
    """Give what a code means, in the language of the reader; the code itself when it is not ours."""
    words = _WORDS.get(code)
    return say(words[0], words[1]) if words else code


def remedy(code: str) -> str:
    """Give who must do what about a code."""
    words = _WORDS.get(code)
    return say(words[2], words[3]) if words else ""
