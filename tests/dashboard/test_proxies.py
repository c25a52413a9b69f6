"""The dashboard behind nginx and Caddy, which provide TLS, set up as in packaging/proxies and the documents."""

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
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
        listen 127.0.0.1:{port} ssl;
        server_name microscope.example.org;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
{location}
    }}
}}
"""


def nginx(port, upstream, folder):
    location = (PROXIES / "ptylive.nginx").read_text(encoding="utf-8").replace("127.0.0.1:5006", upstream)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, location=location), encoding="utf-8")
    return ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(port, upstream, folder):
    """With a certificate of our own and a free port, so that it requests no certificate from anybody."""
    text = (PROXIES / "Caddyfile").read_text(encoding="utf-8").replace("127.0.0.1:5006", upstream)
    own = f"    tls {folder}/certificate.pem {folder}/key.pem\n"
    text = text.replace(f"{NAME} {{\n", f"https://{NAME}:{port} {{\n{own}")
    (folder / "Caddyfile").write_text("{\n    admin off\n    auto_https off\n}\n" + text, encoding="utf-8")
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(scope="module")
def page():
    running = Running(access=ACCESS, names=(NAME,), prefix="/ptylive")
    yield running
    running.end()


@dataclass(frozen=True)
class Proxy:
    """A running proxy: its port, and what makes its certificate trusted."""

    port: int
    tls: ssl.SSLContext

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        with closing(socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)) as plain:
            connection = http.client.HTTPConnection(NAME)
            connection.sock = self.tls.wrap_socket(plain, server_hostname=NAME)
            connection.request("GET", path, headers={"Host": NAME, **headers})
            answer = connection.getresponse()
            found = answer.status, answer.headers, answer.read()
            connection.close()
            return found

    def open_page(self, page: Running, **headers: str) -> PageClient:
        url = f"https://{NAME}:{self.port}"
        return page.do(lambda: PageClient.open(url, "/ptylive/", tls=self.tls, **headers))


@pytest.fixture(scope="module", params=[nginx, caddy], ids=lambda start: start.__name__)
def proxy(request, page, tmp_path_factory):
    """The proxy in front of the page, with a certificate made for it."""
    for name in (request.param.__name__, "openssl"):
        if shutil.which(name) is None:
            pytest.skip(f"no {name} on this machine (apt-get install {name})")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = free.getsockname()[1]
    folder = tmp_path_factory.mktemp(request.param.__name__)
    certify = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", f"/CN={NAME}"]
    certify += ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(certify, cwd=folder, check=True, capture_output=True)
    command = request.param(found, f"127.0.0.1:{page.dashboard.port}", folder)
    with (folder / "said").open("w") as said:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)}
        running = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    try:
        wait_for(found, running, folder / "said")
        yield Proxy(found, ssl.create_default_context(cafile=folder / "certificate.pem"))
    finally:
        running.terminate()
        running.wait(30)


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


def signed_in(proxy):
    """The cookie set by a login through the proxy: it is only sent over TLS."""
    status, headers, _ = proxy.get(f"/ptylive/login?token={OPERATOR}")
    assert status in (302, 303)
    assert headers["Location"] == "./"
    cookie = headers["Set-Cookie"]
    assert re.search(r"Path=/(ptylive)?(;|$)", cookie)
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    return cookie.split(";")[0]


@pytest.mark.slow
def test_a_page_opens_with_its_websocket(page, proxy):
    cookie = signed_in(proxy)
    client = proxy.open_page(page, Cookie=cookie, **OURS)
    source = re.search(r'src="\./(static/[^"?]+)', client.page)
    assert proxy.get(f"/ptylive/{source[1]}", Cookie=cookie)[0] == 200


@pytest.mark.slow
def test_who_has_no_token_and_who_comes_from_elsewhere_is_kept_out(page, proxy):
    assert proxy.get("/ptylive/")[0] == 401
    elsewhere = {**OURS, "Origin": "https://evil.example"}
    with pytest.raises(HTTPClientError, match="403"):
        proxy.open_page(page, Cookie=signed_in(proxy), **elsewhere)


@pytest.mark.parametrize(("language", "name"), [("nginx", "ptylive.nginx"), ("caddy", "Caddyfile")])
def test_the_document_shows_what_is_tried(language, name):
    text = (ROOT / "docs/how-to/remote.md").read_text(encoding="utf-8")
    (shown,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    assert shown == (PROXIES / name).read_text(encoding="utf-8")
