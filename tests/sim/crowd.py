"""Many clients at one moment: `python -m tests.sim.crowd START COUNT MEMORY URL…` sends COUNT creates together.

START is the Unix time at which they go, so that several of these processes go together. One JSON line tells what each
was answered: [status, body].
"""

import json
import os
import sys
import threading
import time

from lab.plane import Client, new_instance


def main(start: float, count: int, memory: int, urls: list[str]) -> None:
    answers: list[object] = []

    def send(number: int) -> None:
        client = Client(urls[number % len(urls)])
        client.sign_in()
        time.sleep(max(0.0, start - time.time()))
        body = new_instance(f"crowd-{os.getpid()}-{number}", "crowd") | {"memory": memory}
        answer = client.call("POST", "/instances", body)
        answers.append([answer.status_code, answer.json()])

    threads = [threading.Thread(target=send, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(answers))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
