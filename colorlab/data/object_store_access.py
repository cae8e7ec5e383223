"""A program for one access to an object store: `python object_store_access.py sizes|get|put|delete URL [NAME [FILE]]`.

obstore's threads do not survive a fork, and DataLoader forks its workers: in a worker of a process that
has used obstore, a download would never finish. So each access runs this file in a process of its own.
It takes a tenth of a second and imports nothing of colorlab.
"""

import json
import os
import sys
from pathlib import Path


def access(action: str, url: str, name: str = "", file: str = "") -> None:
    """Perform one action on an object store.

    Args:
        action: sizes prints {name: bytes} as JSON, get downloads `name` into the existing `file`, put
            uploads `file` as `name`, delete deletes `name`.
        url: the store and the folder in it.
        name: a file below the URL.
        file: a local path.
    """
    from obstore.store import from_url

    plain_http = any(value.startswith("http://") for key, value in os.environ.items() if key.startswith("AWS_ENDPOINT"))
    store = from_url(
        url,
        client_options={"allow_http": plain_http},
        # sizes is the first access: a wrong address fails soon, while later accesses outlast an outage.
        retry_config={"max_retries": 3} if action == "sizes" else None,
    )
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
        sys.exit("it needs obstore: pip install obstore")
    except Exception as error:  # stores and networks raise errors of any kind
        sys.exit(str(error).splitlines()[0])
