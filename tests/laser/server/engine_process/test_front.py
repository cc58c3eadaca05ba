"""What answers while the model loads."""

from __future__ import annotations

import asyncio

import httpx

from laser.server.engine_process.front import FrontDoor


def test_a_start_that_comes_to_nothing_refuses_who_waits_for_it() -> None:
    async def main() -> None:
        door = FrontDoor("m")
        transport = httpx.ASGITransport(door)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            waits = asyncio.create_task(client.post("/v1/chat/completions", json={}))
            assert (await client.get("/health")).json()["status"] == "starting"
            door.give_up()
            answer = await waits
            assert answer.status_code == 503
            assert answer.json()["error"]["message"] == "the server has ended before its model was loaded"

    asyncio.run(main())
