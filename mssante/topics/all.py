"""The list of topics, in the order in which they are built and opened."""

from __future__ import annotations

from mssante.topics.account import AccountTopic
from mssante.topics.api import ApiTopic
from mssante.topics.base import Ground, Topic
from mssante.topics.carddav import CardDavTopic
from mssante.topics.citizen import CitizenTopic
from mssante.topics.directory import DirectoryTopic
from mssante.topics.directory_use import DirectoryUseTopic
from mssante.topics.discovery import DiscoveryTopic
from mssante.topics.documents import DocumentsTopic
from mssante.topics.dropfolder import DropFolderTopic
from mssante.topics.handover import HandoverTopic
from mssante.topics.hl7 import Hl7Topic
from mssante.topics.ldap import LdapTopic
from mssante.topics.life import LifeTopic
from mssante.topics.preflight import PreflightTopic
from mssante.topics.provisioning import ProvisioningTopic
from mssante.topics.publication import PublicationTopic
from mssante.topics.sharing import SharingTopic
from mssante.topics.sieve import SieveTopic
from mssante.topics.workshop import WorkshopTopic


def topics(ground: Ground) -> list[Topic]:
    """Build every topic on a ground. Raises MssFault when one cannot stand on this configuration."""
    return [
        WorkshopTopic(ground),  # first: worker processes that others use
        DirectoryUseTopic(ground),  # before the desk, which asks its sources
        DirectoryTopic(ground),
        PublicationTopic(ground),
        LifeTopic(ground),
        SharingTopic(ground),
        ProvisioningTopic(ground),
        AccountTopic(ground),
        DocumentsTopic(ground),  # its pages stand among those of the account
        SieveTopic(ground),
        ApiTopic(ground),
        HandoverTopic(ground),
        DropFolderTopic(ground),
        Hl7Topic(ground),
        LdapTopic(ground),
        CardDavTopic(ground),
        DiscoveryTopic(ground),
        PreflightTopic(ground),  # after masking, before the citizens' desk
        CitizenTopic(ground),  # its check of departures notes what leaves: after those that may refuse
    ]
