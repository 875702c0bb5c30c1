"""The web account and app passwords: rules of main passwords, pages, and the tasks that write uses and forget old sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import structlog
from aiohttp import web

from mssante.config.base import split_hostport
from mssante.config.model import Config
from mssante.endpoints.account_apps import Apps
from mssante.endpoints.account_factors import Factors
from mssante.endpoints.account_signin import Signin
from mssante.endpoints.account_site import Desks, Settings, Site
from mssante.errors import MssFault
from mssante.services.accounts import LoginRules
from mssante.services.apppasswords import AppPasswords
from mssante.services.passkeys import Passkeys
from mssante.services.secondfactor import SecondFactors
from mssante.services.websession import SessionTimes, WebSessions
from mssante.topics.base import Ground, Topic

log = structlog.get_logger("account")
FLUSH_SECONDS = 60.0


def session_times(config: Config) -> SessionTimes:
    """Give how long sessions live."""
    section = config.operator.web
    return SessionTimes(timedelta(minutes=section.session_minutes), timedelta(hours=section.session_hours),
                        timedelta(minutes=section.proof_minutes))


def page_settings(config: Config) -> Settings:
    """Give what pages tell of us."""
    operator = config.operator
    host = operator.web.host or operator.operator.hostname

    def place(listener: str) -> str:
        return f"{operator.operator.hostname}:{split_hostport(listener)[1]}" if listener else ""

    return Settings(operator.operator.name, host, place(operator.listen.imaps), place(operator.listen.submissions),
                    f"https://{place(operator.listen.web)}/" if operator.listen.web else "",
                    documents=operator.documents.twin != "off")


class AccountTopic(Topic):
    """Gives the logins their rules and the web door its pages."""

    def __init__(self, ground: Ground) -> None:
        config, login = ground.config, ground.config.operator.login
        ground.accounts.rules = LoginRules(frozenset(login.main_password), frozenset(login.main_password_with_factor))
        settings = page_settings(config)
        factors = SecondFactors(ground.stores, ground.clock, ground.secret)
        self._apps = AppPasswords(ground.stores, ground.clock, ground.accounts)
        self._sessions = WebSessions(ground.stores, ground.clock, ground.secret, session_times(config))
        passkeys = Passkeys(factors, ground.clock, ground.secret, host=settings.host, name=settings.operator)
        self.site = Site(Desks(ground.stores, ground.accounts, self._sessions, factors, passkeys, self._apps), settings)
        ground.site = self.site if config.operator.web.account else None
        self.signin = Signin(self.site)
        self._pages = (self.signin, Factors(self.site), Apps(self.site))
        self._on = config.operator.web.account

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the pages."""
        return [route for page in self._pages for route in page.routes()] if self._on else []

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Write last uses, forget sessions that are over."""
        return (self._run(),)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        try:
            await self._apps.flush()
            await self._sessions.purge()
        except MssFault as fault:  # told, kept in memory, tried again
            log.error("account_not_flushed", rule=fault.rule)

    async def close(self) -> None:
        """Write what is left."""
        await self._flush()
