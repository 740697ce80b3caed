"""Small programs that the supervisor runs in these tests, in place of the real web app and workers."""

from pathlib import Path

# A web server as granian is one: a leader and forked workers on one socket; /stuck never answers.
WEB = """
import os, signal, socket, sys, time
listener = socket.create_server((os.environ.get("HOST") or "127.0.0.1", int(os.environ["PORT"])), reuse_port=True)
def serve():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        connection, _ = listener.accept()
        path = (connection.recv(65536).split(b" ") + [b"/"])[1].decode()
        if path == "/stuck":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            open("stuck", "w").close()
            time.sleep(300)
        body = (os.environ.get(path[5:], "") if path.startswith("/env/") else "ok").encode()
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        connection.close()
children = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        serve()
    children.append(pid)
def stop(*_):
    for child in children:
        os.kill(child, signal.SIGTERM)
signal.signal(signal.SIGTERM, stop)
print("web serves", flush=True)
for child in children:
    os.waitpid(child, 0)
print("web is down", flush=True)
"""

# For granian itself.
PLAIN = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"""

# Writes down its starts; what it does next depends on a file, so that a test can make it crash and stop crashing.
FLAKY = """
import os, pathlib, time
with open("starts", "a") as file:
    file.write(f"{os.getpid()}\\n")
if pathlib.Path("crash").exists():
    raise SystemExit(3)
print('{"event": "flaky.runs"}', flush=True)
time.sleep(300)
"""

# A job of three seconds that does not let itself be interrupted, as a warm shutdown of Celery.
JOB = """
import signal, sys, time
stopping = False
def stop(*_):
    global stopping
    stopping = True
signal.signal(signal.SIGTERM, stop)
print("job begins", flush=True)
began = time.monotonic()
while not stopping:
    time.sleep(0.02)
deadline = time.monotonic() + float(sys.argv[1])
while time.monotonic() < deadline:
    time.sleep(0.02)
open("finished", "w").close()
print("job finished", flush=True)
"""

SANDBOX = """
import http.server, os, socket
smtp = socket.create_server(("127.0.0.1", int(os.environ["SANDBOX_SMTP_PORT"])))
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["SANDBOX_PORT"])), http.server.SimpleHTTPRequestHandler)
print("sandbox serves", flush=True)
server.serve_forever()
"""

# A Celery application on the embedded Valkey, for the pools that fork.
CELERY = """
import os, time
from celery import Celery
app = Celery("tapp", broker=os.environ["REDIS_URL"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
@app.task(name="tapp.nap")
def nap(path, seconds):
    with open(path + ".began", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)
    open(path + ".done", "w").close()
"""

# What the command line will be: two preparations, and a word when the web answers.
UP = """
import os, sys
if "setuid" in sys.argv:
    from crm_tasks.stack import identity
    def no_name_space(*_):
        raise OSError("forbidden, for this test")
    identity._enter_name_space = no_name_space
    identity.SHARED = (identity.Path(sys.argv[sys.argv.index("setuid") + 1]),)
from crm_tasks.stack.up import up
def prepare():
    import psycopg
    with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
    print("prepared", flush=True)
up(sandbox="--no-sandbox" not in sys.argv, prepare=[prepare], ready=lambda: print("READY", flush=True))
"""


def write(directory: Path) -> None:
    """Put all of them into a directory."""
    for name, text in {
        "web.py": WEB,
        "plain.py": PLAIN,
        "flaky.py": FLAKY,
        "job.py": JOB,
        "sandbox.py": SANDBOX,
        "tapp.py": CELERY,
        "go.py": UP,
    }.items():
        (directory / name).write_text(text)
