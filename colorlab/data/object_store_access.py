"""One access to an object store, in a process of its own: `python bucket.py sizes|get|put|delete URL [NAME [FILE]]`.

obstore's threads do not live through a fork, and DataLoader forks its workers: a process that has
used obstore leaves them waiting forever. So whoever needs a bucket starts this file, which takes a
tenth of a second and imports nothing of ours.
"""

import json
import os
import sys
from pathlib import Path


def access(action: str, url: str, name: str = "", file: str = "") -> None:
    """Do one thing: `sizes` prints {name: bytes} of what lies there, `get` and `put` move a file, `delete` deletes."""
    from obstore.store import from_url

    plain_http = any(value.startswith("http://") for key, value in os.environ.items() if key.startswith("AWS_ENDPOINT"))
    retries = {"max_retries": 3} if action == "sizes" else {}  # a wrong address is told soon, a run outlives an outage
    store = from_url(url, client_options={"allow_http": plain_http}, retry_config=retries)
    if action == "sizes":
        print(json.dumps({found["path"]: found["size"] for part in store.list() for found in part}))
    elif action == "get":
        with open(file, "r+b") as copy:
            for piece in store.get(name).stream():
                copy.write(piece)
            copy.truncate()
    elif action == "put":
        store.put(name, Path(file))
    else:
        store.delete(name)


if __name__ == "__main__":
    try:
        access(*sys.argv[1:])
    except ImportError:
        sys.exit("it needs obstore: pip install 'colorlab[shards]'")
    except Exception as error:  # whatever a store or the network answers: one line of it
        sys.exit(str(error).splitlines()[0])
