"""What answers at a URL is told apart before anything is measured."""

from __future__ import annotations

import asyncio

import pytest
from tests import server as scripts
from tests.server import MODEL, Script, ScriptedServer

from speedbench import launch, load
from speedbench.errors import EngineError


def identity(url: str, model: str | None = None) -> launch.Identity:
    async def ask() -> launch.Identity:
        target = load.Target(url)
        async with launch.open_session(target) as session:
            return await launch.identify(session, target, model)

    return asyncio.run(ask())


def refusal(url: str, model: str | None = None) -> str:
    with pytest.raises(EngineError) as caught:
        identity(url, model)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_first_model_is_taken_and_its_context_read(server: ScriptedServer) -> None:
    server.models = scripts.model_list("first", "second", max_model_len=8192)
    found = identity(server.base_url)
    assert (found.model, found.max_context) == ("first", 8192)


def test_the_model_asked_for_is_taken(server: ScriptedServer) -> None:
    server.models = scripts.model_list("first", "second")
    found = identity(server.base_url, "second")
    assert (found.model, found.max_context) == ("second", None)


def test_a_model_that_is_not_served_is_named_beside_those_that_are(server: ScriptedServer) -> None:
    assert MODEL in refusal(server.base_url, "gpt-none")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (scripts.html_page(), "not like a language-model server"),
        (scripts.foreign_json(), "not like a language-model server"),
        (Script([b"[1, 2]"]), "not like a language-model server"),
        (Script([b'{"data": [1]}']), "not like a language-model server"),
        (Script([b'{"data": [{"id": "m", "max_model_len": "long"}]}']), "not like a language-m"),
        (Script([b"\xff\xfe"]), "not like a language-model server"),
        (Script(), "not like a language-model server"),
        (scripts.model_list(), "serves no model"),
        (scripts.http_error(401, "no key"), "SPEEDBENCH_API_KEY"),
        (scripts.http_error(404, "nothing here"), "HTTP 404"),
        (Script([b'{"data"'], then="cut"), "cannot reach"),
    ],
    ids=lambda value: value[:14] if isinstance(value, str) else "",
)
def test_what_is_no_language_model_server_is_refused(
    page: Script, said: str, server: ScriptedServer
) -> None:
    server.models = page
    assert said in refusal(server.base_url)


def test_nothing_there_is_refused() -> None:
    assert "cannot reach" in refusal("http://127.0.0.1:9")


def test_a_host_that_does_not_exist_is_refused() -> None:
    assert "cannot reach" in refusal("http://no-such-host.invalid")
