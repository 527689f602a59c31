"""Work handed out by an asyncio service: examples/service.py HOST:PORT [LISTEN_PORT]

Answers `GET /N` with the prime factors of N, found on the cluster. What takes longer than two seconds,
or cannot start within one, is told so at once, so that a crowd of slow requests harms nobody else.

    argon manager --port 8000
    PYTHONPATH=examples argon worker --manager localhost:8000 -- python3 -m argon.pool service
"""

import asyncio
import sys


def factors(number):
    """Runs on a worker."""
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found + [number] if number > 1 else found


async def main(address, port):
    """Runs here."""
    import argon.aio

    async with argon.aio.Client(address, deadline=2, max_wait=1, retries=0) as client:

        async def serve(reader, writer):
            try:
                request = await reader.readline()
                while (await reader.readline()).strip():
                    pass
                number = int(request.split()[1][1:])
                answer = await client.call("python:service:factors", number)
                status, text = "200 OK", " ".join(map(str, answer))
            except (IndexError, ValueError):
                status, text = "400 Bad Request", "GET /N"
            except argon.ArgonError as error:
                status, text = "503 Service Unavailable", str(error)
            writer.write(f"HTTP/1.0 {status}\r\n\r\n{text}\n".encode())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", port)
        print("listening on port", server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
