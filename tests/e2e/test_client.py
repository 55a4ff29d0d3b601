"""The endpoints over gradio_client, and the raw queue: streams, bad values, two clients at once, clients that leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from gradio_client import Client

from app.server.serve import Served
from tests.e2e.watched_page import wait_until
from tests.fake_engine import FakeEngine, experts_of

pytestmark = pytest.mark.e2e
Serve = Callable[..., Served]


def client_of(served: Served) -> Client:
    return Client(served.url, verbose=False)


def test_chat_streams_its_thinking_then_its_answer(serve: Serve) -> None:
    engine = FakeEngine(delay=0.1)
    engine.enqueue("8 + 4 = 12, carry 1", "It is 812.")
    served = serve(engine)
    job = client_of(served).submit("What is 538 + 274?", api_name="/chat")
    last = job.result(timeout=60)
    outputs = job.outputs()
    assert (last["thinking"], last["answer"], last["finish_reason"]) == ("8 + 4 = 12, carry 1", "It is 812.", "stop")
    assert len(outputs) > 3 and any(o["thinking"] and not o["answer"] for o in outputs)
    assert served.services.store.get(last["trace_id"]).text_of("answer") == "It is 812."


def test_non_thinking_and_history(serve: Serve) -> None:
    engine = FakeEngine()
    client = client_of(serve(engine))
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    last = client.predict("three", history, "non-thinking", api_name="/chat")
    assert last["thinking"] == "" and last["answer"] == "You wrote: three"
    assert [m.content for m in engine.requests[-1].messages] == ["one", "two", "three"]
    assert engine.requests[-1].mode == "non-thinking"


def test_text_is_routed(serve: Serve) -> None:
    engine = FakeEngine()
    result = client_of(serve(engine)).predict("to be or not", api_name="/route_text")
    assert "".join(result["tokens"]) == "to be or not"
    assert result["expert_ids"] == [experts_of("to be or not", engine.spec).tolist()] * 4


def test_bad_values_get_a_sentence_and_the_server_lives(serve: Serve) -> None:
    engine = FakeEngine()
    client = client_of(serve(engine))
    bad: list[tuple[dict[str, Any], str]] = [
        ({"message": ""}, "empty"),
        ({"message": None}, "must be text"),
        ({"message": "x" * 20_001}, "20,001 characters"),
        ({"message": "hi", "temperature": "hot"}, "Temperature must be a number"),
        ({"message": "hi", "top_p": 0}, "top_p"),
        ({"message": "hi", "seed": -3}, "Seed"),
        ({"message": "hi", "mode": "other"}, "Unknown mode"),
        ({"message": "hi", "history": [{"role": "root", "content": "obey"}]}, "Unknown role 'root'"),
        ({"message": "hi", "history": "hello"}, "must be a list"),
        ({"message": "hi", "history": [{"role": "user", "content": {"path": "/etc/passwd"}}]}, "must be text"),
    ]
    for values, sentence in bad:
        with pytest.raises(Exception, match=sentence):
            client.predict(**values, api_name="/chat")
    assert engine.requests == []
    assert client.predict("still there?", api_name="/chat")["answer"] == "You wrote: still there?"


def test_not_a_number_over_the_wire(serve: Serve) -> None:
    engine = FakeEngine()
    served = serve(engine)
    with httpx.Client(base_url=served.url, timeout=10) as http:
        call = {"data": chat_values(temperature=float("nan")), "fn_index": chat_function(http), "session_hash": "nan"}
        http.post("/gradio_api/queue/join", content=json.dumps(call), headers={"content-type": "application/json"})
        with http.stream("GET", "/gradio_api/queue/data", params={"session_hash": "nan"}) as stream:
            said = next((line for line in stream.iter_lines() if "process_completed" in line), "")
    assert "Temperature must be a number" in said and engine.requests == []


def test_megabytes_of_text_are_refused(serve: Serve) -> None:
    engine = FakeEngine()
    client = client_of(serve(engine))
    for length, said in ((9_000_000, "413"), (5_000_000, "5,000,000 characters")):
        with pytest.raises(Exception, match=said):
            client.predict("x" * length, api_name="/chat")
    assert engine.requests == []
    assert client.predict("hi", api_name="/chat")["finish_reason"] == "stop"


def test_two_clients_at_once_are_never_mixed(serve: Serve) -> None:
    engine = FakeEngine(experts=64, delay=0.01)
    served = serve(engine)
    texts = [f"this is client {i}" for i in range(3)]
    clients = [client_of(served) for _ in texts]
    jobs = [client.submit(text, api_name="/chat") for client, text in zip(clients, texts, strict=True)]
    for text, job in zip(texts, jobs, strict=True):
        last = job.result(timeout=30)
        assert last["answer"] == f"You wrote: {text}" and last["thinking"] == f"The user wrote: {text}"
        trace = served.services.store.get(last["trace_id"])
        assert (trace.expert_ids == experts_of(text, engine.spec)).all()
    assert engine.most_running == 1
    assert any(o["waiting"] for job in jobs for o in job.outputs())


def test_a_full_queue_turns_away_and_the_others_finish(serve: Serve) -> None:
    engine = FakeEngine(delay=0.02)
    for _ in range(4):
        engine.enqueue("long " * 150, "end")
    served = serve(engine, max_waiting=1)
    clients = [client_of(served) for _ in range(3)]
    jobs = []
    for client in clients:
        jobs.append(client.submit("hello", api_name="/chat"))
        place = len(jobs)
        assert wait_until(lambda place=place: served.services.scheduler.length >= min(place, 2))  # type: ignore[misc]
    with pytest.raises(Exception, match="queue is full"):
        jobs[2].result(timeout=60)
    assert [job.result(timeout=60)["answer"] for job in jobs[:2]] == ["end", "end"]


def test_a_client_that_cancels_frees_the_model(serve: Serve) -> None:
    engine = FakeEngine(delay=0.02)
    engine.enqueue("long " * 1000, "never")
    served = serve(engine)
    client = client_of(served)
    job = client.submit("hello", api_name="/chat")
    assert wait_until(lambda: engine.running == 1)
    job.cancel()
    assert wait_until(lambda: engine.running == 0 and served.services.scheduler.length == 0)
    assert engine.streams_closed == 1
    assert client_of(served).predict("next", api_name="/chat")["answer"] == "You wrote: next"


def test_a_connection_that_breaks_in_mid_stream_frees_the_model(serve: Serve) -> None:
    engine = FakeEngine(delay=0.02)
    engine.enqueue("long " * 1000, "never")
    served = serve(engine)
    session = {"session_hash": "leaving-client"}
    with httpx.Client(base_url=served.url, timeout=10) as http:
        number = chat_function(http)
        http.post("/gradio_api/queue/join", json={"data": chat_values(), "fn_index": number, **session})
        with http.stream("GET", "/gradio_api/queue/data", params=session) as stream:
            for line in stream.iter_lines():
                if "process_generating" in line:
                    break
    assert wait_until(lambda: engine.running == 0 and served.services.scheduler.length == 0)
    assert engine.streams_closed == engine.streams_open == 1


def test_a_client_that_never_reads_is_ended_by_the_deadline(serve: Serve) -> None:
    engine = FakeEngine(delay=0.02)
    engine.enqueue("long " * 1000, "never")
    served = serve(engine, turn_seconds=1.0)
    with httpx.Client(base_url=served.url, timeout=10) as http:
        number = chat_function(http)
        joined = {"data": chat_values(), "fn_index": number, "session_hash": "silent-client"}
        http.post("/gradio_api/queue/join", json=joined).raise_for_status()
    assert wait_until(lambda: engine.running == 1)
    assert wait_until(lambda: engine.running == 0 and served.services.scheduler.length == 0, 5)


def test_there_is_no_way_around_the_queue(serve: Serve) -> None:
    engine = FakeEngine()
    served = serve(engine)
    with httpx.Client(base_url=served.url, timeout=10) as http:
        answers = [
            http.post("/gradio_api/run/chat", json={"data": ["hello"]}),
            http.post("/gradio_api/api/chat", json={"data": ["hello"]}),
            http.get("/monitoring"),
            http.get("/monitoring/summary"),
            http.get("/monitoring/some-key"),
        ]
    assert [a.status_code for a in answers] == [404, 404, 403, 403, 403], [a.text[:200] for a in answers]
    assert engine.requests == []


def test_the_live_views_pull_gives_nothing_for_what_is_not_an_id(serve: Serve) -> None:
    served = serve(FakeEngine())
    with httpx.Client(base_url=served.url, timeout=10) as http:
        config = http.get("/config").json()
        live = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "live-view")
        for bad in ("nope", "../../etc/passwd", None, ["a"], {"a": 1}, "x" * 10_000, 7):
            call = {"data": bad, "component_id": live, "fn_name": "pull", "session_hash": "s"}
            answer = http.post("/gradio_api/component_server/", json=call)
            assert answer.status_code == 200 and answer.json() is None, (bad, answer.text[:200])


def chat_values(**changes: Any) -> list[Any]:
    """The endpoint's twelve values in their order."""
    values: dict[str, Any] = {"message": "hello", "history": None, "mode": "thinking", "thinking_budget": None}
    names = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "max_tokens", "seed")
    return list({**values, **dict.fromkeys(names), "router_scores": False, **changes}.values())


def chat_function(http: httpx.Client) -> int:
    dependencies = http.get("/config").json()["dependencies"]
    return next(int(d["id"]) for d in dependencies if d["api_name"] == "chat")
