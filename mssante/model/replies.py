"""The table of every SMTP reply that the endpoints send by themselves (RFC 5321 §4.2, RFC 3463, RFC 5248).

Basic codes stay inside the CI-SIS table of SMTPERRORCODE (F2.13). Texts are ASCII, French, and end with the rule in
brackets, so that a user's client shows why and what to do. Replies decided by trust (white list, certificates) are built
in `mssante.trust.decisions` in the same form.
"""

from __future__ import annotations

from collections.abc import Sequence

from mssante.model.reply import Refuse, SmtpReply


def _reply(code: int, enhanced: str, text: str, rule: str = "") -> SmtpReply:
    return SmtpReply(code, enhanced, f"{text} [{rule}]" if rule else text, rule)


OK = _reply(250, "2.0.0", "OK")
SENDER_OK = _reply(250, "2.1.0", "Expediteur admis")
RECIPIENT_OK = _reply(250, "2.1.5", "Destinataire admis")
BYE = _reply(221, "2.0.0", "Au revoir")
START_DATA = _reply(354, "", "Message, puis <CRLF>.<CRLF>")
READY_FOR_TLS = _reply(220, "2.0.0", "Pret pour TLS")
AUTH_OK = _reply(235, "2.7.0", "Authentification reussie")

NOT_VERIFIED = _reply(252, "2.5.2", "Adresse non verifiee ici : envoyez, la reponse a RCPT fait foi")
NOT_OFFERED = _reply(502, "5.5.1", "Commande non proposee", "SMTP-COMMANDE")
HELP = _reply(214, "2.0.0", "EHLO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY QUIT : RFC 5321")

NEED_TLS = _reply(530, "5.7.0", "STARTTLS obligatoire avant toute commande de message", "TLS-REQUIS")
TLS_INJECTION = _reply(554, "5.5.1", "Octets recus apres STARTTLS avant la negociation : session fermee", "TLS-INJECTION")
TLS_TWICE = _reply(503, "5.5.1", "TLS est deja actif", "TLS-DEJA")
TLS_NO_ARGUMENT = _reply(501, "5.5.4", "STARTTLS ne prend pas de parametre", "SMTP-SYNTAXE")
NEED_AUTH = _reply(530, "5.7.0", "Authentification requise pour deposer un message", "AUTH-REQUISE")
AUTH_FAILED = _reply(535, "5.7.8", "Identifiant ou mot de passe refuse", "AUTH-REFUSEE")
AUTH_LATER = _reply(454, "4.7.0", "Trop d'essais, reessayez plus tard", "AUTH-PLUS-TARD")  # RFC 4954 par. 6
AUTH_NOT_CHECKED = _reply(454, "4.7.0", "Connexion impossible a verifier, reessayez plus tard", "AUTH-INDISPONIBLE")  # the same
AUTH_MECHANISM = _reply(504, "5.5.4", "Mecanisme non propose ; utilisez PLAIN ou LOGIN", "AUTH-MECANISME")
AUTH_CANCELLED = _reply(501, "5.7.0", "Authentification abandonnee", "AUTH-ABANDON")
AUTH_TWICE = _reply(503, "5.5.1", "Deja authentifie", "AUTH-DEJA")
AUTH_UNAVAILABLE = _reply(503, "5.5.1", "AUTH n'est pas propose sur ce port", "AUTH-ABSENTE")

SYNTAX = _reply(501, "5.5.4", "Syntaxe de commande ou de parametre", "SMTP-SYNTAXE")
UNKNOWN_COMMAND = _reply(500, "5.5.2", "Commande inconnue", "SMTP-COMMANDE")
BAD_LINE = _reply(500, "5.5.2", "Fin de ligne ou octet interdit : CRLF seulement, pas de NUL", "SMTP-LIGNE")
LINE_TOO_LONG = _reply(500, "5.5.2", "Ligne trop longue", "SMTP-LIGNE-LONGUE")
BAD_SEQUENCE = _reply(503, "5.5.1", "Commande hors de sequence", "SMTP-SEQUENCE")
UNKNOWN_PARAMETER = _reply(555, "5.5.4", "Parametre MAIL ou RCPT inconnu ou mal forme", "SMTP-PARAMETRE")
BAD_ADDRESS = _reply(553, "5.1.3", "Adresse mal formee : utilisez nom@domaine, sans route ni guillemets", "ADRESSE-SYNTAXE")
BAD_SENDER = _reply(553, "5.1.7", "Expediteur mal forme : utilisez nom@domaine", "ADRESSE-SYNTAXE")
TOO_MANY_RECIPIENTS = _reply(452, "4.5.3", "Trop de destinataires pour un message : envoyez le reste a part", "RCPT-NOMBRE")
NO_VALID_RECIPIENT = _reply(554, "5.5.1", "Aucun destinataire valide", "RCPT-AUCUN")
TOO_MANY_ERRORS = _reply(421, "4.7.0", "Trop d'erreurs dans la session", "SESSION-ERREURS")
TOO_MANY_COMMANDS = _reply(421, "4.7.0", "Trop de commandes dans la session", "SESSION-COMMANDES")
TOO_MANY_CONNECTIONS = _reply(421, "4.7.0", "Trop de connexions, reessayez plus tard", "SESSION-NOMBRE")
TIMEOUT = _reply(421, "4.4.2", "Delai depasse", "SESSION-DELAI")
SHUTTING_DOWN = _reply(421, "4.3.2", "Arret du service en cours, reessayez", "SERVICE-ARRET")
INTERNAL = _reply(451, "4.3.0", "Incident interne, le message n'a pas ete pris en charge, reessayez", "SERVICE-INCIDENT")
NO_SPACE = _reply(452, "4.3.1", "Espace disque insuffisant, reessayez plus tard", "DISQUE-PLEIN")
TRUST_NOT_READY = _reply(451, "4.7.1", "Liste blanche indisponible : trafic suspendu, reessayez", "LB-INDISPONIBLE")

TOO_BIG_RULE = "TAILLE"
SMUGGLING = _reply(554, "5.6.0", "CR ou LF isole dans le message : seules les fins CRLF sont admises", "SMTP-CRLF")
NUL_IN_DATA = _reply(554, "5.6.0", "Octet NUL dans le message", "SMTP-NUL")
LINE_IN_DATA = _reply(554, "5.6.0", "Ligne de message trop longue", "SMTP-LIGNE-LONGUE")
TOO_MANY_HOPS = _reply(554, "5.4.6", "Boucle : trop d'en-tetes Received", "BOUCLE")
NO_FROM = _reply(554, "5.6.0", "Il faut exactement un en-tete From lisible", "FROM-UNIQUE")


def too_big(limit_bytes: int) -> SmtpReply:
    """Give the refusal of a message above `limit_bytes` (RFC 1870 §6.1)."""
    return _reply(552, "5.3.4", f"Message trop gros : {limit_bytes} octets au plus", TOO_BIG_RULE)


def accepted(trace_id: str) -> SmtpReply:
    """Give the 250 that promises the message is on disk; its word is the search key for support."""
    return SmtpReply(250, "2.0.0", f"Pris en charge {trace_id}")


def not_ours(address: str) -> Refuse:
    """Refuse to relay for third parties (spec §2.2 step 6)."""
    text = "Ce domaine n'est pas heberge ici et nous ne relayons pas pour des tiers"
    return Refuse(_reply(550, "5.7.1", text, "RELAIS-INTERDIT"), address)


def recipient_unlisted(near: Sequence[str]) -> SmtpReply:
    """Take a recipient that the directory does not publish, with the closest addresses that it does (spec §4.5)."""
    return _reply(250, "2.1.5", "Destinataire admis ; annuaire : adresse non publiee" + _close_ones(near))


def recipient_closed(day: str, by: str, near: Sequence[str]) -> SmtpReply:
    """Take a recipient that was told to be closed. day: ISO date; by: who told it."""
    return _reply(250, "2.1.5", f"Destinataire admis ; attention : boite dite fermee le {day} ({by})" + _close_ones(near))


def not_in_directory(address: str, near: Sequence[str]) -> Refuse:
    """Refuse a recipient that a fresh directory does not have (`directory.check = "strict"`, spec §4.5)."""
    text = f"Adresse absente de l'Annuaire Sante{_close_ones(near)}. Verifiez-la ; votre operateur refuse les adresses absentes"
    return Refuse(_reply(550, "5.1.1", text, "ANNUAIRE-ABSENT"), address)


def _close_ones(near: Sequence[str]) -> str:
    return f" ; proches : {', '.join(near)}" if near else ""


def unknown_mailbox(address: str) -> Refuse:
    """Refuse a recipient whose domain is ours and whose mailbox does not exist."""
    return Refuse(_reply(550, "5.1.1", "Boite inconnue dans ce domaine : verifiez l'adresse", "BOITE-INCONNUE"), address)


def suspended_mailbox(address: str) -> Refuse:
    """Ask to come back later: the mailbox is suspended (spec §5)."""
    return Refuse(_reply(450, "4.2.1", "Boite suspendue pour l'instant", "BOITE-SUSPENDUE"), address)


def shut_mailbox(address: str) -> Refuse:
    """Refuse a suspended mailbox where the operator chose to do so for good (`life.suspended`, spec §5)."""
    return Refuse(_reply(550, "5.2.1", "Boite suspendue", "BOITE-SUSPENDUE"), address)


def unopened_mailbox(address: str) -> Refuse:
    """Ask to come back later: the mailbox is made, but not open yet (spec §5)."""
    return Refuse(_reply(450, "4.2.1", "Boite pas encore ouverte", "BOITE-PAS-OUVERTE"), address)


def closed_mailbox(address: str, since: str = "", successor: str = "") -> Refuse:
    """Refuse a closed mailbox (spec §5). since: a day; successor: the address to write to instead."""
    if since:
        text = f"Boite fermee depuis le {since} : " + (
            f"ecrivez a {successor}" if successor else "cherchez le correspondant dans l'Annuaire Sante")
        return Refuse(_reply(550, "5.2.1", text, "BOITE-FERMEE"), address)
    return Refuse(_reply(550, "5.2.1", "Boite fermee : cherchez le correspondant dans l'Annuaire Sante", "BOITE-FERMEE"),
                  address)


def full_mailbox(address: str, *, permanent: bool) -> Refuse:
    """Refuse a recipient whose mailbox has no room (RFC 5321 §4.2.3, RFC 3463 §3.3 X.2.2); permanent: the sender gives up."""
    if permanent:
        return Refuse(_reply(552, "5.2.2", "Boite pleine : le message n'a pas ete remis", "BOITE-PLEINE"), address)
    return Refuse(_reply(452, "4.2.2", "Boite pleine, reessayez plus tard", "BOITE-PLEINE"), address)


def outside_trust_space(domain: str, list_date: str) -> Refuse:
    """Refuse at RCPT a recipient outside the trust space, with words for the user's client (F2.9)."""
    text = (f"Le domaine {domain} n'est pas dans l'espace de confiance MSSante (liste blanche du {list_date}). "
            "Le message n'est pas parti. Verifiez l'adresse ou cherchez l'adresse MSSante du correspondant "
            "dans l'Annuaire Sante")
    return Refuse(_reply(550, "5.7.1", text, "HORS-ESPACE"), domain)


def not_your_address(address: str) -> Refuse:
    """Refuse an envelope sender that is not a mailbox of the login."""
    text = "L'expediteur doit etre une boite de l'identifiant connecte"
    return Refuse(_reply(553, "5.7.1", text, "EXPEDITEUR-AUTRE"), address)


def no_send_right(address: str) -> Refuse:
    """Refuse an envelope sender that the login opens, but may not send for."""
    text = "Cet identifiant n'a pas le droit d'envoyer au nom de cette boite"
    return Refuse(_reply(553, "5.7.1", text, "ENVOI-NON-DELEGUE"), address)


def sender_field_not_yours(found: str) -> Refuse:
    """Refuse a Sender field that names somebody else than the login that sends for a box (RFC 5322 §3.6.2)."""
    text = "L'en-tete Sender doit porter l'adresse de la personne connectee"
    return Refuse(_reply(554, "5.7.1", text, "SENDER-AUTRE"), found)


def from_not_sender(found: str) -> Refuse:
    """Refuse a From header other than the envelope sender (login = envelope sender = From)."""
    return Refuse(_reply(554, "5.7.1", "L'en-tete From doit porter l'adresse de l'expediteur", "FROM-DIFFERENT"), found)


def from_not_bound(domain: str) -> Refuse:
    """Refuse a From header whose domain is not bound to the peer's certificate (spec §2.2 step 7)."""
    text = f"L'en-tete From porte le domaine {domain}, que votre certificat ne couvre pas"
    return Refuse(_reply(554, "5.7.1", text, "FROM-DOMAINE"), domain)


def bad_ins(reason: str) -> Refuse:
    """Refuse a citizen address whose local part is not a valid INS matricule (spec §9, ECO.2.2.6). reason: no INS in it."""
    text = f"Adresse citoyenne invalide : {reason}. Verifiez le matricule INS (15 caracteres, cle comprise)"
    return Refuse(_reply(553, "5.1.3", text, "INS-ADRESSE"))


def departure_forbidden(rule: str) -> Refuse:
    """Refuse a message whose documents may not leave toward its recipients (spec §8.4, F9.11)."""
    why = {"MASQUAGE-PS": "un document est masque aux professionnels : envoyez-le au seul patient",
           "MASQUAGE-PATIENT": "un document est invisible au patient : retirez sa boite des destinataires",
           "MASQUAGE-ILLISIBLE": "un document ne peut pas etre lu, son masquage n'est pas connu : refaites-le",
           "OPPOSITION-PATIENT": "le patient s'est oppose a cet envoi : respectez son choix"}.get(
               rule, "les masquages du document ne vont pas ensemble : corrigez-les")
    text = f"Le message n'est pas parti, {why}, ou donnez un motif (X-MSSANTE-Derogation)"
    return Refuse(_reply(554, "5.7.1", text, rule))


def preflight_failed(rule: str, errors: int) -> Refuse:
    """Refuse a message whose structured documents break rules (`documents.preflight = "block"`, spec §8.6). rule: the first."""
    many = f"{errors} erreurs" if errors > 1 else "1 erreur"
    text = (f"Le message n'est pas parti : {many} dans les documents joints, la premiere : regle {rule}. Faites corriger le "
            "document par le logiciel qui l'a produit ; le detail se lit avec la commande mssante preflight")
    return Refuse(_reply(554, "5.6.0", text, "DOC-CONTROLE"), rule)


def no_certificate(domain: str, rule: str) -> Refuse:
    """Refuse a message that must be encrypted when no usable certificate of a recipient is known (`smime.fallback = "refuse"`,
    RFC 3463 X.7.3). rule: whether none is known, or none is admitted."""
    known = "Aucun certificat" if rule == "SMIME-SANS-CERTIFICAT" else "Aucun certificat valable"
    text = (f"{known} pour chiffrer vers un destinataire de {domain}. Le message n'est pas parti : demandez-lui un message "
            "signe, ou a votre administrateur d'ajouter son certificat")
    return Refuse(_reply(554, "5.7.3", text, rule), domain)


def no_signing_key(rule: str) -> Refuse:
    """Refuse a message that must be signed when its mailbox has no key, or one past its dates."""
    why = "certificat de signature de votre boite hors de ses dates" if rule == "SMIME-CLE-EXPIREE" else \
        "votre boite n'a pas de cle de signature"
    return Refuse(_reply(554, "5.7.3", f"Le message doit etre signe et {why} : votre administrateur doit en donner un", rule))


def signing_key_failed() -> Refuse:
    """Ask to come back later: the key of the mailbox cannot be used now, which is our fault."""
    return Refuse(_reply(451, "4.7.5", "La cle de signature de votre boite ne repond pas, reessayez ; "
                                       "votre administrateur est prevenu", "SMIME-CLE"))


def cannot_seal(domain: str, rule: str) -> Refuse:
    """Refuse a message that must be signed or encrypted and whose form does not allow it (RFC 3463 X.7.3)."""
    text = (f"Le message pour {domain} doit etre signe ou chiffre et sa forme ne le permet pas : envoyez-le en lignes CRLF, "
            "sans octet NUL ni structure MIME ambigue")
    return Refuse(_reply(554, "5.7.3", text, rule), domain)


def too_many_blind(limit: int) -> Refuse:
    """Refuse a message to encrypt for too many blind copies, each of which is a message of its own."""
    text = f"Trop de copies cachees pour un message chiffre : {limit} au plus, envoyez le reste a part"
    return Refuse(_reply(554, "5.5.3", text, "SMIME-COPIES"))
