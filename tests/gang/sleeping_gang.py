"""A driver program for tests: a gang that sleeps, each rank with a grandchild in a session of its own.

Says ``ready`` with the pids once every rank runs, then obeys ``cancel``, ``cancel the group`` and
``kill in the UI`` on stdin; says ``failed`` with the error when the gang ended.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from typing import Any

import tritium
from tritium.errors import TritiumError
from tritium.spark.jvm import stop


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def sleep(*, deaf: bool) -> None:
    import os
    import signal
    import subprocess
    import time

    import tritium

    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    script = "import os, time; os.fork() and os._exit(0); print(os.getpid(), flush=True); time.sleep(300)"
    hidden = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    assert hidden.stdout is not None
    tritium.rank().report(pid=os.getpid(), hidden=int(hidden.stdout.readline()))
    time.sleep(300)


def main() -> None:
    ranks = int(sys.argv[1])
    deaf = "deaf" in sys.argv
    spark = tritium.session(machine="dgx-a100", workers=2, gpus=2, ui="ui" in sys.argv)
    pids: dict[int, dict[str, int]] = {}

    def hear(rank: int, values: Any) -> None:
        pids[rank] = dict(values)
        if len(pids) == ranks:
            say(ready=pids)

    gang = tritium.Gang(ranks=ranks, name="sleepers")

    def obey() -> None:
        for line in sys.stdin:
            if line.strip() == "cancel":
                gang.cancel()
            if line.strip() == "cancel the group":
                spark.sparkContext.cancelJobGroup("mine")
            if line.strip() == "kill in the UI":
                (job,) = spark.sparkContext.statusTracker().getActiveJobsIds()
                page = f"{spark.sparkContext.uiWebUrl}/jobs/job/kill/?id={job}"
                urllib.request.urlopen(page).close()  # noqa: S310  Spark's own page

    threading.Thread(target=obey, daemon=True).start()
    spark.sparkContext.setJobGroup("mine", "a user's own group")
    try:
        gang.run(sleep, on_report=hear, deaf=deaf)
    except TritiumError as err:
        say(failed=[type(err).__name__, str(err)])
    stop(spark)
    say(stopped=True)


if __name__ == "__main__":
    main()
