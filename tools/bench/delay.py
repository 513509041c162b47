"""``python -m tools.bench.delay HOST:PORT MILLISECONDS``: a loopback proxy in front of a server that is that far away.

Prints its address. Each piece that a client sends is passed on after the delay; answers come back at once, so that a request
on a kept-alive connection costs one delay, as a round trip does. Ends with its standard input.
"""

from __future__ import annotations

import asyncio
import os
import sys


async def serve(host: str, port: int, seconds: float) -> None:
    """Serve until standard input ends."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        try:
            while data := await reader.read(65536):
                if delay:
                    await asyncio.sleep(delay)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(pass_on(reader, far_writer, seconds), pass_on(far_reader, writer, 0.0))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=256)
    print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # whatever is under way is nobody's any more


if __name__ == "__main__":
    place, _, number = sys.argv[1].rpartition(":")
    asyncio.run(serve(place, int(number), float(sys.argv[2]) / 1000))
