"""What to do about each rule of the pre-flight that has no words of its own: one sentence, French with English beside."""

from __future__ import annotations

from mssante.lang import say


def remedy_for(rule: str) -> str:
    """Give the remedy of a rule (`XDM-HASH`, `CDA-ROOT`, `ZIP-…`); a rule that is not known gets that of its family."""
    found = {
        "XDM-HASH": say("refaites l'archive : l'empreinte SHA-1 est celle du fichier joint",
                        "make the archive again: the hash is SHA-1 of the attached file"),
        "XDM-SIZE": say("refaites l'archive : la taille est celle du fichier joint",
                        "make the archive again: the size is that of the attached file"),
        "XDM-PATIENT": say("faites un message par patient, identifié par son INS", "make one message per patient, named by INS"),
        "XDM-RECORD-TARGET": say("vérifiez le patient : document et métadonnées doivent nommer le même",
                                 "check the patient: document and metadata must name the same"),
        "XDM-FILE": say("joignez tous les documents annoncés par METADATA.XML",
                        "attach all documents that METADATA.XML announces"),
        "XDM-PDF": say("remplacez le fichier par un vrai PDF", "replace the file by a real PDF"),
        "XDM-CHAMP": say("refaites METADATA.XML d'après l'en-tête du document",
                         "make METADATA.XML from the header of the document"),
        "XDM-NOM": say("nommez les fichiers en 8.3, majuscules : DOC0001.XML", "name files 8.3 in upper case: DOC0001.XML"),
        "XDM-SUBSET": say("l'archive contient IHE_XDM/SUBSET01/METADATA.XML et les documents",
                          "the archive holds IHE_XDM/SUBSET01/METADATA.XML and the documents"),
        "MAIL-NOM": say("nommez la pièce jointe IHE_XDM.ZIP", "name the attachment IHE_XDM.ZIP"),
        "MAIL-OBJET": say("commencez l'objet par XDM/1.0/DDM+", "begin the subject with XDM/1.0/DDM+"),
        "MAIL-PDF": say("joignez une copie PDF/A-1 de chaque document", "attach a PDF/A-1 copy of each document"),
        "MAIL-ARCHIVE": say("joignez IHE_XDM.ZIP, ou changez l'objet", "attach IHE_XDM.ZIP, or change the subject"),
        "MAIL-FICHIERS": say("répartissez les documents en plusieurs messages", "spread the documents over several messages"),
        "MAIL-P7M": say("signez de nouveau, ou en signature lisible (multipart/signed)",
                        "sign again, or with a readable signature (multipart/signed)"),
        "MAIL-PROFONDEUR": say("signez le message une seule fois", "sign the message once"),
        "SCH-PANNE": say("rien à faire pour vous ; l'administrateur vérifie les fichiers de règles",
                         "nothing for you to do; the administrator checks the rule files"),
        "INS-KEY": say("vérifiez le matricule INS du patient dans le logiciel", "check the patient's INS in the software"),
        "CDA-ROOT": say("joignez un document CDA R2 (ClinicalDocument)", "attach a CDA R2 document (ClinicalDocument)"),
        "CDA-PATIENT": say("le document doit nommer son patient (recordTarget)",
                           "the document must name its patient (recordTarget)"),
    }.get(rule)
    if found is not None:
        return found
    families = {
        "ZIP-": say("refaites l'archive avec un logiciel conforme, sans mot de passe ni lien",
                    "make the archive with conforming software, without password nor link"),
        "XML-": say("refaites le document : XML bien formé, UTF-8, sans DTD",
                    "make the document again: well-formed XML, UTF-8, no DTD"),
        "X-MSS-": say("laissez l'opérateur calculer cet en-tête, ou corrigez-le",
                      "let the operator compute this header, or correct it"),
        "XDM-": say("refaites l'archive avec le logiciel qui l'a produite",
                    "make the archive again with the software that made it"),
    }
    return next((words for start, words in families.items() if rule.startswith(start)),
                say("corrigez la donnée dans le logiciel qui a produit le document",
                    "correct the fact in the software that made the document"))
