"""The dashboard behind nginx and Caddy, set up as packaging/proxies and the documents say, without TLS."""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from page_client import PATIENCE_S, PageClient
from page_in_thread import ACCESS, OPERATOR, Running
from tornado.httpclient import HTTPClientError

ROOT = Path(__file__).resolve().parents[2]
PROXIES = ROOT / "packaging" / "proxies"
NAME = "microscope.example.org"
OURS = {"Host": NAME, "Origin": f"https://{NAME}"}
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
{location}
    }}
}}
"""


def nginx(port, upstream, folder):
    location = (PROXIES / "ptylive.nginx").read_text(encoding="utf-8").replace("127.0.0.1:5006", upstream)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, location=location), encoding="utf-8")
    return ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(port, upstream, folder):
    """A name that is its own and a port that is free: it asks nobody for a certificate."""
    text = (PROXIES / "Caddyfile").read_text(encoding="utf-8").replace("127.0.0.1:5006", upstream)
    text = text.replace(f"{NAME} {{", f"http://{NAME}:{port} {{")
    (folder / "Caddyfile").write_text("{\n    admin off\n    auto_https off\n}\n" + text, encoding="utf-8")
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(scope="module")
def page():
    running = Running(access=ACCESS, names=(NAME,), prefix="/ptylive")
    yield running
    running.end()


@pytest.fixture(scope="module", params=[nginx, caddy], ids=lambda start: start.__name__)
def port(request, page, tmp_path_factory):
    """Of a proxy before the page."""
    if shutil.which(request.param.__name__) is None:
        pytest.skip(f"no {request.param.__name__} on this machine (apt-get install {request.param.__name__})")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = free.getsockname()[1]
    folder = tmp_path_factory.mktemp(request.param.__name__)
    command = request.param(found, f"127.0.0.1:{page.dashboard.port}", folder)
    with (folder / "said").open("w") as said:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)}
        proxy = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    try:
        wait_for(found, proxy, folder / "said")
        yield found
    finally:
        proxy.terminate()
        proxy.wait(30)


def wait_for(port, proxy, said):
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        assert proxy.poll() is None, said.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(said.read_text())


def signed_in(page, port):
    """The cookie that a login through the proxy gives."""
    status, headers, _ = page.get(f"/ptylive/login?token={OPERATOR}", port=port, Host=NAME)
    assert status in (302, 303)
    assert headers["Location"] == "./"
    cookie = headers["Set-Cookie"]
    assert re.search(r"Path=/(ptylive)?(;|$)", cookie)
    return cookie.split(";")[0]


@pytest.mark.slow
def test_a_page_opens_with_its_websocket(page, port):
    cookie = signed_in(page, port)
    client = page.do(lambda: PageClient.open(f"http://127.0.0.1:{port}", "/ptylive/", Cookie=cookie, **OURS))
    source = re.search(r'src="\./(static/[^"?]+)', client.page)
    assert page.get(f"/ptylive/{source[1]}", port=port, Host=NAME, Cookie=cookie)[0] == 200


@pytest.mark.slow
def test_who_has_no_token_and_who_comes_from_elsewhere_is_kept_out(page, port):
    assert page.get("/ptylive/", port=port, Host=NAME)[0] == 401
    cookie = signed_in(page, port)
    elsewhere = {**OURS, "Origin": "https://evil.example"}
    with pytest.raises(HTTPClientError, match="403"):
        page.do(lambda: PageClient.open(f"http://127.0.0.1:{port}", "/ptylive/", Cookie=cookie, **elsewhere))


@pytest.mark.parametrize(("language", "name"), [("nginx", "ptylive.nginx"), ("caddy", "Caddyfile")])
def test_the_document_shows_what_is_tried(language, name):
    text = (ROOT / "docs/how-to/remote.md").read_text(encoding="utf-8")
    (shown,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    assert shown == (PROXIES / name).read_text(encoding="utf-8")
